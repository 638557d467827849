#include "autoregressive/parallel/sharded_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>
#include <map>
#include <string>

#include "autoregressive/parallel/layer_collectives.h"
#include "autoregressive/parallel/sharded_runner.h"
#include "tests/autoregressive/parallel/split_model.h"
#include "tests/autoregressive/train_tiny.h"
#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using tests::on_mesh;
using tests::relative_difference;

constexpr int64_t kBatch = 3;

ar::Model made(const ar::Config& config) {
  ar::Model model = ar::make_model(config, 3, at::kCPU);
  tests::fill_zeros(model);
  return model;
}

ar::Model made_double(const ar::Config& config) {
  ar::Model model = made(config);
  tests::to_double(model);
  return model;
}

std::map<std::string, at::Tensor> gradients(ar::Model& model) {
  std::map<std::string, at::Tensor> all;
  for (const Parameter& p : ar::parameters(model)) all[p.name] = p.tensor->grad();
  return all;
}

/// What a pass gives on one device.
struct Reference {
  ar::Config config;
  ar::ForwardOptions options;
  at::Tensor loss;
  std::map<std::string, at::Tensor> gradients;

  Reference(const ar::Config& c, const ar::ForwardOptions& o) : config(c), options(o) {
    ar::Model model = made_double(config);
    require_gradients(ar::parameters(model), true);
    loss = ar::token_loss(model, tests::tiny_condition(config, kBatch),
                          tests::tiny_tokens(config, kBatch), options);
    loss.backward();
    gradients = parallel::gradients(model);
  }
};

/// One rank's pass beside the reference: loss, gradients, and what was sent.
void compare(const Reference& reference, const std::vector<Annotation>& annotations, Mesh& mesh) {
  const ar::Config& config = reference.config;
  const Sharding sharding = propagate(config, annotations, mesh.shape());
  const ShardedRunner runner(sharding, mesh);
  ar::Model model = shard(made_double(config), sharding, mesh);
  require_gradients(ar::parameters(model), true);
  ar::ForwardOptions options = reference.options;
  options.runner = &runner;
  const ar::Condition condition = tests::tiny_condition(config, kBatch);
  Group& group = mesh.along("tensor");
  group.forget_traffic();
  const at::Tensor loss =
      ar::token_loss(model, condition, tests::tiny_tokens(config, kBatch), options);
  loss.backward();

  PassShape pass;
  pass.batch = kBatch;
  pass.tokens = config.grid_height * config.grid_width;
  if (config.text_depth > 0) pass.text_tokens = condition.lengths.max().item<int64_t>();
  pass.compute = pass.weights = at::kDouble;
  pass.rematerialize = options.rematerialize;
  const Traffic expected =
      expected_traffic(collectives_of(config, sharding), "tensor", group.size(), pass);
  const Traffic sent = group.traffic();
  EXPECT_EQ(sent.by_collective.size(), expected.by_collective.size());
  for (const auto& [name, count] : expected.by_collective) {
    ASSERT_TRUE(sent.by_collective.contains(name)) << name;
    EXPECT_EQ(sent.by_collective.at(name).calls, count.calls) << name;
    EXPECT_EQ(sent.by_collective.at(name).bytes, count.bytes) << name;
  }

  EXPECT_LT(relative_difference(loss, reference.loss), 1e-10);
  for (const auto& [name, gradient] : gradients(model)) {
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_LT(relative_difference(gather_whole(gradient, name, sharding, mesh),
                                  reference.gradients.at(name)),
              1e-10)
        << name;
    if (sharding.weight(name).split) continue;
    const at::Tensor all = group.all_gather(gradient.unsqueeze(0), 0);
    for (int64_t r = 1; r < group.size(); ++r)
      EXPECT_TRUE(all[r].equal(all[0])) << name << " differs on rank " << r;
  }
}

void expect_one_model(const ar::Config& config) {
  for (const bool rematerialize : {false, true}) {
    const ar::ForwardOptions options{.compute = at::kDouble,
                                     .dropout = 0.1,
                                     .seed = 5,
                                     .step = 3,
                                     .rematerialize = rematerialize};
    const Reference reference(config, options);
    for (const char* shape : {"tensor=2", "tensor=4"}) {
      if (!rematerialize && shape == std::string("tensor=4"))
        continue;  // it sends a part of the other
      for (const tests::Form& form : tests::forms()) {
        SCOPED_TRACE(concat(form.name, ", ", shape, rematerialize ? ", again" : ""));
        on_mesh(shape, [&](Mesh& mesh) { compare(reference, form.annotations(config), mesh); });
      }
    }
  }
}

TEST(ShardedModel, LossAndGradientsOfTextAreThoseOfOneRank) {
  expect_one_model(tests::split_parti());
}

TEST(ShardedModel, LossAndGradientsWithoutTextAreThoseOfOneRank) {
  expect_one_model(tests::split_vim());
}

/// Placements that no preset has: some layers whole beside others that are split.
TEST(ShardedModel, LayersMayBeSplitApart) {
  const ar::Config config = tests::split_parti();
  const Placement rows = Placement::along(0, "tensor");
  const Annotation tokens{"*.stream", Placement::along(1, "tensor")};
  const std::vector<std::vector<Annotation>> cases = {
      {{"*.up.weight", rows}},
      {{"*.attention.out.weight", Placement::along(1, "tensor")}, {"softmax.bias", rows}},
      {{"decoder.blocks.1.*.hidden", Placement::along(2, "tensor")},
       {"decoder.stream", Placement::along(1, "tensor")}},
      {{"*.cross.kv.weight", rows}, tokens},
      {tokens},
  };
  const Reference reference(config, {.compute = at::kDouble, .dropout = 0.1, .seed = 5});
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    on_mesh("tensor=2", [&](Mesh& mesh) { compare(reference, cases[i], mesh); });
  }
  // Heads that no output layer joins, whole beside parts of the stream.
  const Reference vim(tests::split_vim(), {.compute = at::kDouble, .dropout = 0.1, .seed = 5});
  on_mesh("tensor=2", [&](Mesh& mesh) { compare(vim, {tokens}, mesh); });
}

/// Experts in every other block are whole and do alike on all ranks of the axis; the dense layers between are gated.
TEST(ShardedModel, ExpertsAndGatedLayersAreThoseOfOneRank) {
  ar::Config config = tests::split_parti();
  config.activation = "geglu";
  config.experts = 4;
  ar::Config static_config = config;  // experts of one task as one dense layer
  static_config.routing = "static";
  for (const ar::Config& c : {config, static_config}) {
    const Reference reference(c, {.compute = at::kDouble, .dropout = 0.1, .seed = 5});
    for (const tests::Form& form : tests::forms()) {
      SCOPED_TRACE(concat(form.name, ", ", c.routing));
      on_mesh("tensor=2", [&](Mesh& mesh) { compare(reference, form.annotations(c), mesh); });
    }
  }
}

TEST(ShardedModel, LogitsLikelihoodsFeaturesAndPlacesAreThoseOfOneRank) {
  ar::Config config = tests::split_parti();
  config.conv_layers = "";
  const ar::Model whole = made_double(config);
  const ar::Condition condition = tests::tiny_condition(config, kBatch);
  const at::Tensor tokens = tests::tiny_tokens(config, kBatch);
  const at::Tensor places = at::arange(11, at::kLong).mul(2).unsqueeze(0).expand({kBatch, 11});
  for (const tests::Form& form : tests::forms()) {
    on_mesh("tensor=2", [&](Mesh& mesh) {
      const at::NoGradGuard no_grad;
      const Sharding sharding = propagate(config, form.annotations(config), mesh.shape());
      const ShardedRunner runner(sharding, mesh);
      const ar::Model model = shard(whole, sharding, mesh);
      const ar::ForwardOptions one{.compute = at::kDouble};
      ar::ForwardOptions options = one;
      options.runner = &runner;
      const auto expect_same = [](const at::Tensor& a, const at::Tensor& b) {
        EXPECT_LT(relative_difference(a, b), 1e-10);
      };
      expect_same(ar::logits(model, condition, tokens, options),
                  ar::logits(whole, condition, tokens, one));
      expect_same(ar::token_log_likelihoods(model, condition, tokens, options),
                  ar::token_log_likelihoods(whole, condition, tokens, one));
      expect_same(ar::features(model, condition, tokens, 0, options),
                  ar::features(whole, condition, tokens, 0, one));
      expect_same(ar::token_loss(model, condition, tokens, options, {}, places),
                  ar::token_loss(whole, condition, tokens, one, {}, places));
    });
  }
}

/// Rounding differs, as sums are cut differently: 50 steps at a high rate end within 1e-4 of one rank's loss (1e-5 measured).
TEST(ShardedModel, FiftyStepsEndWhereOneRankEnds) {
  ar::Config config = tests::split_parti();
  config.depth = 1;
  config.conv_layers = "";
  const ar::Condition condition = tests::tiny_condition(config, 2);
  const at::Tensor tokens = tests::tiny_tokens(config, 2);
  const ar::ForwardOptions one{.dropout = 0.1, .seed = 5};
  ar::Model whole = made(config);
  const double first = ar::token_loss(whole, condition, tokens, one).item<double>();
  const double wanted = tests::train(whole, condition, tokens, 50, 3e-3, one);
  EXPECT_LT(wanted, 0.8 * first);  // it learns
  for (const tests::Form& form : tests::forms()) {
    on_mesh("tensor=2", [&](Mesh& mesh) {
      const Sharding sharding = propagate(config, form.annotations(config), mesh.shape());
      const ShardedRunner runner(sharding, mesh);
      ar::Model model = shard(made(config), sharding, mesh);
      ar::ForwardOptions options = one;
      options.runner = &runner;
      const double loss = tests::train(model, condition, tokens, 50, 3e-3, options);
      EXPECT_NEAR(loss, wanted, 1e-4 * wanted) << form.name;
      const ar::Model back = gather_whole(model, sharding, mesh);
      const double whole_loss = ar::token_loss(back, condition, tokens).item<double>();
      const double wanted_loss = ar::token_loss(whole, condition, tokens).item<double>();
      EXPECT_NEAR(whole_loss, wanted_loss, 1e-4 * wanted_loss) << form.name;
    });
  }
}

TEST(ShardedModel, CutAndJoinAreInverse) {
  const ar::Config config = tests::split_parti();
  ar::Model model = made(config);
  const Sharding sharding = propagate(config, megatron_annotations(config), parse_mesh("tensor=4"));
  for (const Parameter& p : ar::parameters(model)) {
    std::vector<at::Tensor> parts;
    for (int64_t r = 0; r < 4; ++r) parts.push_back(cut(*p.tensor, p.name, sharding, r));
    EXPECT_TRUE(join(parts, p.name, sharding).equal(*p.tensor)) << p.name;
  }
  // Rank 1 has head 1 of q, of k and of v: rows 8..15 of each.
  const at::Tensor& qkv = model.decoder[0].attention.qkv.weight;
  const at::Tensor part = cut(qkv, "decoder.blocks.0.attention.qkv.weight", sharding, 1);
  EXPECT_EQ(part.sizes(), at::IntArrayRef({24, 32}));
  EXPECT_TRUE(part.narrow(0, 8, 8).equal(qkv.narrow(0, 40, 8)));
  EXPECT_EQ(local_parameters(model, sharding)[0].shape, (std::vector<int64_t>{10, 32}));
  tests::expect_error(ErrorKind::kUsage, "axis tensor: softmax.weight of [29, 32]", [&] {
    cut(tests::random_tensor(1, {29, 32}), "softmax.weight", sharding, 0);
  });
}

TEST(ShardedModel, AMeshOfOneSendsNothing) {
  const ar::Config config = tests::split_vim();
  Mesh mesh;
  const Sharding sharding = propagate(config, megatron_annotations(config), mesh.shape());
  EXPECT_TRUE(collectives_of(config, sharding).empty());
  const ShardedRunner runner(sharding, mesh);
  const ar::Model model = made(config);
  ar::ForwardOptions options{.dropout = 0.1};
  const ar::Condition condition = tests::tiny_condition(config, 2);
  const at::Tensor tokens = tests::tiny_tokens(config, 2);
  const at::Tensor wanted = ar::token_loss(model, condition, tokens, options);
  options.runner = &runner;
  EXPECT_LT(relative_difference(ar::token_loss(model, condition, tokens, options), wanted), 1e-6);
}

}  // namespace
}  // namespace lexel::parallel
