#include "autoregressive/parallel/expert_parallel.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include "autoregressive/parallel/sharded_model.h"
#include "kernels/adamw.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using tests::expect_error;
using tests::on_mesh;
using tests::relative_difference;

constexpr int64_t kBatch = 4;

ar::Model made(const ar::Config& config, at::ScalarType dtype = at::kDouble) {
  ar::Model model = ar::make_model(config, 3, at::kCPU);
  tests::fill_zeros(model);
  if (dtype == at::kDouble) tests::to_double(model);
  return model;
}

/// How a step is computed, on one rank and on several.
struct Step {
  ar::Config config;
  bool rematerialize = false;
  bool learns = true;  // else each token gets both its experts
  at::ScalarType compute = at::kDouble;
  int64_t number = 2;
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
  options.compute = step.compute;
  options.dropout = 0.1;
  options.seed = 5;
  options.step = step.number;
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
  reduce_gradients(parameters, group, mesh.along("data"));
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

/// Token loss of each of 50 steps of AdamW in float32, the mean over all ranks.
std::vector<double> fifty_steps(ar::Model& model, const ParameterList& list, Step step,
                                int64_t first, int64_t count, Mesh& mesh) {
  const ExpertAllToAll exchange(mesh.along("expert"));
  require_gradients(list, true);
  std::vector<kernels::AdamWUpdate> updates;
  for (const Parameter& p : list) {
    const at::Tensor zeros = at::zeros_like(*p.tensor).detach();
    updates.push_back({p.tensor->detach(), {}, zeros, zeros.clone(), {}});
  }
  std::vector<double> result;
  for (step.number = 0; step.number < 50; ++step.number) {
    const Losses own = losses(model, step, first, count, &exchange);
    own.total.backward();
    reduce_gradients(list, mesh.along("expert"), mesh.along("data"));
    for (size_t i = 0; i < list.size(); ++i) {
      updates[i].gradient = list[i].tensor->grad();
      updates[i].options = {.learning_rate = 3e-3, .beta2 = 0.96, .step = step.number + 1};
    }
    kernels::adamw_(updates);
    for (const Parameter& p : list) p.tensor->mutable_grad().reset();
    at::Tensor parts = own.parts.clone();
    mesh.everyone().all_reduce(parts);
    result.push_back(parts[0].item<double>() / static_cast<double>(mesh.shape().size()));
  }
  return result;
}

// Rounding may send a token to another expert once two are near equally likely: the tolerance is that of a few tokens.
TEST(ExpertParallel, FiftyStepsInFloat32FollowThoseOfOneRank) {
  for (const char* const routing : {"token", "task"}) {
    Step step{tests::tiny_experts(routing)};
    step.compute = at::kFloat;
    ar::Model model = made(step.config, at::kFloat);
    Mesh one;
    const std::vector<double> wanted =
        fifty_steps(model, ar::parameters(model), step, 0, kBatch, one);
    EXPECT_LT(wanted.back(), wanted.front() - 1.0) << routing;
    on_mesh("expert=2", [&](Mesh& mesh) {
      const Sharding sharding = propagate(step.config, expert_annotations(), mesh.shape());
      ar::Model part = shard(made(step.config, at::kFloat), sharding, mesh);
      const int64_t rank = mesh.coordinate("expert");
      const std::vector<double> got = fifty_steps(part, local_parameters(part, sharding), step,
                                                  rank * kBatch / 2, kBatch / 2, mesh);
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_NEAR(got[i], wanted[i], 1e-4 * wanted[i]) << routing << ", step " << i;
      }
    });
  }
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
