#include "autoregressive/parallel/expert_parallel.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>
#include <map>
#include <string>

#include "autoregressive/parallel/sharded_model.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using tests::expect_error;
using tests::on_mesh;
using tests::relative_difference;

constexpr int64_t kBatch = 4;

ar::Model made(const ar::Config& config) {
  ar::Model model = ar::make_model(config, 3, at::kCPU);
  tests::fill_zeros(model);
  tests::to_double(model);
  return model;
}

/// How a step is computed, on one rank and on several.
struct Step {
  ar::Config config;
  bool rematerialize = false;
  bool learns = true;  // else each token gets both its experts
};

struct Losses {
  at::Tensor total;  // () with gradient
  at::Tensor parts;  // token loss, auxiliary
};

/// Of rows first .. first + count - 1 of the batch.
Losses losses(const ar::Model& model, const Step& step, int64_t first, int64_t count,
              const moe::ExpertExchange* exchange) {
  const ar::Condition all = tests::tiny_condition(step.config, kBatch);
  const auto part = [&](const at::Tensor& x) {
    return x.defined() ? x.narrow(0, first, count) : x;
  };
  ar::ExpertRecord record;
  ar::ForwardOptions options;
  options.compute = at::kDouble;
  options.dropout = 0.1;
  options.seed = 5;
  options.step = 2;
  options.first_row = first;
  options.text_tokens = all.lengths.max().item<int64_t>();
  options.rematerialize = step.rematerialize;
  options.exchange = exchange;
  if (step.learns) options.experts = &record;
  const at::Tensor loss =
      ar::token_loss(model, {part(all.text), part(all.lengths), {}, part(all.tasks)},
                     part(tests::tiny_tokens(step.config, kBatch)), options);
  if (!step.learns) return {loss, at::stack({loss}).detach()};
  return {loss + 0.3 * record.auxiliary, at::stack({loss, record.auxiliary}).detach()};
}

struct Reference {
  explicit Reference(const Step& step) {
    ar::Model model = made(step.config);
    require_gradients(ar::parameters(model), true);
    const Losses one = losses(model, step, 0, kBatch, nullptr);
    one.total.backward();
    parts = one.parts;
    for (const Parameter& p : ar::parameters(model)) gradients[p.name] = p.tensor->grad();
  }
  at::Tensor parts;
  std::map<std::string, at::Tensor> gradients;
};

void compare(const Reference& reference, const Step& step, Mesh& mesh) {
  Group& group = mesh.along("expert");
  const ExpertAllToAll exchange(group);
  const Sharding sharding = propagate(step.config, expert_annotations(), mesh.shape());
  ar::Model model = shard(made(step.config), sharding, mesh);
  const ParameterList parameters = local_parameters(model, sharding);
  for (const Parameter& p : parameters) ASSERT_EQ(p.tensor->sizes(), at::IntArrayRef(p.shape));
  require_gradients(parameters, true);

  const int64_t ranks = mesh.shape().size(), count = kBatch / ranks;
  const int64_t place = mesh.coordinate("data") * group.size() + mesh.coordinate("expert");
  group.forget_traffic();
  const Losses own = losses(model, step, place * count, count, &exchange);
  own.total.backward();

  if (step.learns && step.config.tasks == 0) {
    PassShape pass;
    pass.batch = count;
    pass.tokens = step.config.grid_height * step.config.grid_width;
    pass.text_tokens = tests::tiny_condition(step.config, kBatch).lengths.max().item<int64_t>();
    pass.compute = at::kDouble;
    pass.rematerialize = step.rematerialize;
    const Traffic wanted = expected_expert_traffic(step.config, group.size(), pass);
    EXPECT_GT(wanted.bytes(), 0);
    EXPECT_EQ(group.traffic().bytes(), wanted.bytes());
    const auto calls = [](const Traffic& t) { return t.by_collective.at("all_to_all").calls; };
    EXPECT_EQ(calls(group.traffic()), calls(wanted));
  }

  at::Tensor parts = own.parts.clone();
  mesh.everyone().all_reduce(parts);
  EXPECT_LT(relative_difference(parts / static_cast<double>(ranks), reference.parts), 1e-10);
  reduce_gradients(parameters, mesh);
  for (const Parameter& p : parameters) {
    const at::Tensor whole = gather_whole(p.tensor->grad(), p.name, sharding, mesh);
    EXPECT_LT(relative_difference(whole, reference.gradients.at(p.name)), 1e-10) << p.name;
  }
}

void compare_on(const std::string& mesh, const Step& step) {
  SCOPED_TRACE(mesh);
  const Reference reference(step);
  on_mesh(mesh, [&](Mesh& ranks) { compare(reference, step, ranks); });
}

TEST(ExpertParallel, RoutedByTokenEqualsOneRank) {
  const Step step{tests::tiny_experts()};
  for (const char* const mesh : {"expert=2", "expert=4", "data=2,expert=2"}) {
    compare_on(mesh, step);
  }
}

TEST(ExpertParallel, RoutedByTaskEqualsOneRank) {
  const Step step{tests::tiny_experts("task")};
  for (const char* const mesh : {"expert=2", "expert=4"}) compare_on(mesh, step);
}

TEST(ExpertParallel, BlocksMayBeComputedAgain) {
  compare_on("expert=2", {tests::tiny_experts(), /*rematerialize=*/true});
}

TEST(ExpertParallel, TightCapacityAndLingvosRules) {
  Step step{tests::tiny_experts()};
  step.config.capacity_factor = 0.6;
  step.config.gating = "lingvo";
  compare_on("expert=2", step);
}

TEST(ExpertParallel, NoTokenIsDroppedWhereNothingIsLearnt) {
  compare_on("expert=2", {tests::tiny_experts(), false, /*learns=*/false});
}

TEST(ExpertParallel, ExpertsThatDoNotDivideAreRefused) {
  ar::Config config = tests::tiny_experts();
  config.experts = 3;
  expect_error(ErrorKind::kUsage, "3 experts do not divide among 2 ranks",
               [&] { propagate(config, expert_annotations(), parse_mesh("expert=2")); });
  expect_error(ErrorKind::kUsage, "fits no weight", [] {
    propagate(tests::tiny_parti(), expert_annotations(), parse_mesh("expert=2"));
  });
  const std::vector<Annotation> wrong = {
      {"*.feed_forward.experts.*", Placement::along(0, "tensor")}};
  expect_error(ErrorKind::kUsage, "expected axis expert",
               [&] { propagate(tests::tiny_experts(), wrong, parse_mesh("tensor=2")); });
}

}  // namespace
}  // namespace lexel::parallel
