#include "autoregressive/expert_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "autoregressive/model.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"

namespace lexel::ar {
namespace {

using tests::expect_error;
using tests::relative_difference;

Model double_model(const Config& config) {
  Model model = make_model(config, 1, at::kCPU);
  tests::fill_zeros(model);
  tests::to_double(model);
  require_gradients(parameters(model), true);
  return model;
}

struct Pass {
  at::Tensor loss;
  ExpertRecord record;
  std::vector<at::Tensor> gradients;  // of loss + auxiliary / 2, by parameter
};

Pass learn(Model& model, const Condition& condition, const at::Tensor& tokens,
           bool rematerialize = false) {
  Pass pass;
  ForwardOptions options;
  options.compute = at::kDouble;
  options.dropout = 0.1;
  options.seed = 3;
  options.step = 8;
  options.rematerialize = rematerialize;
  options.experts = &pass.record;
  pass.loss = token_loss(model, condition, tokens, options);
  for (const Parameter& p : parameters(model)) p.tensor->mutable_grad().reset();
  (pass.loss + 0.5 * pass.record.auxiliary).backward();
  for (const Parameter& p : parameters(model)) {
    pass.gradients.push_back(p.tensor->grad().defined() ? p.tensor->grad().clone() : at::Tensor());
  }
  return pass;
}

TEST(ExpertLayer, EveryOtherBlockHasExperts) {
  Model model = model_layout(tests::tiny_experts("task"));
  std::string with;
  for (const Parameter& p : parameters(model)) {
    if (p.name.ends_with("router") || p.name.ends_with("tasks")) with += p.name + " ";
  }
  EXPECT_EQ(with,
            "encoder.blocks.1.feed_forward.router encoder.blocks.1.feed_forward.tasks "
            "decoder.blocks.1.feed_forward.router decoder.blocks.1.feed_forward.tasks ");
}

TEST(ExpertLayer, GradientsReachEveryParameterAndRematerializedOnesAreTheSameBits) {
  for (const std::string routing : {"token", "task"}) {
    const Config config = tests::tiny_experts(routing);
    Model model = double_model(config);
    const Condition condition = tests::tiny_condition(config, 6);
    const at::Tensor tokens = tests::tiny_tokens(config, 6);
    const Pass plain = learn(model, condition, tokens),
               again = learn(model, condition, tokens, true);
    ASSERT_EQ(plain.record.chosen.size(), 2U);
    ASSERT_EQ(again.record.chosen.size(), 2U);
    EXPECT_EQ(plain.record.chosen[0].sum().item<int64_t>(),
              condition.lengths.sum().item<int64_t>());
    EXPECT_EQ(plain.record.chosen[1].sum().item<int64_t>(), 6 * 30);
    EXPECT_TRUE(at::equal(again.record.chosen[1], plain.record.chosen[1]));
    EXPECT_TRUE(again.loss.equal(plain.loss));
    EXPECT_TRUE(again.record.auxiliary.equal(plain.record.auxiliary));
    const ParameterList list = parameters(model);
    for (size_t i = 0; i < list.size(); ++i) {
      ASSERT_TRUE(plain.gradients[i].defined()) << list[i].name;
      EXPECT_GT(plain.gradients[i].abs().max().item<double>(), 0.0) << list[i].name;
      EXPECT_LT(relative_difference(again.gradients[i], plain.gradients[i]), 1e-12) << list[i].name;
    }
    const double entropy = use_entropy(plain.record).item<double>();
    EXPECT_GT(entropy, 0.0);
    EXPECT_LE(entropy, 1.0);
    EXPECT_GE(plain.record.auxiliary.item<double>(), routing == "task" ? 1.0 : 1.5);
  }
}

// What data-parallel ranks rely on: groups, noise and capacity are those of the whole batch.
TEST(ExpertLayer, PartsOfABatchGiveTheLossOfTheWhole) {
  for (const std::string routing : {"token", "task"}) {
    const Config config = tests::tiny_experts(routing);
    Model model = double_model(config);
    const Condition all = tests::tiny_condition(config, 4);
    const at::Tensor tokens = tests::tiny_tokens(config, 4);
    const auto loss_of = [&](int64_t first, int64_t count) {
      ExpertRecord record;
      ForwardOptions options;
      options.compute = at::kDouble;
      options.first_row = first;
      options.text_tokens = all.lengths.max().item<int64_t>();
      options.experts = &record;
      const auto part = [&](const at::Tensor& x) {
        return x.defined() ? x.slice(0, first, first + count) : x;
      };
      const Condition condition{part(all.text), part(all.lengths), {}, part(all.tasks)};
      const at::Tensor loss = token_loss(model, condition, part(tokens), options);
      return at::stack({loss, record.auxiliary}).detach();
    };
    const at::Tensor halves = (loss_of(0, 2) + loss_of(2, 2)) / 2.0;
    EXPECT_LT(relative_difference(halves, loss_of(0, 4)), 1e-12);
  }
}

TEST(ExpertLayer, WithoutARecordNoTokenIsDropped) {
  Config config = tests::tiny_experts();
  const Condition condition = tests::tiny_condition(config, 3);
  const at::Tensor tokens = tests::tiny_tokens(config, 3);
  const auto logits_with = [&](double capacity_factor, bool record) {
    config.capacity_factor = capacity_factor;
    Model model = double_model(config);
    ExpertRecord kept;
    ForwardOptions options;
    options.compute = at::kDouble;
    options.experts = record ? &kept : nullptr;
    return logits(model, condition, tokens, options).detach();
  };
  EXPECT_TRUE(logits_with(0.1, false).equal(logits_with(1.0, false)));
  EXPECT_FALSE(logits_with(0.1, true).equal(logits_with(1.0, true)));
}

TEST(ExpertLayer, PaddingOfCaptionsChangesNothing) {
  const Config config = tests::tiny_experts();
  Model model = double_model(config);
  Condition condition = tests::tiny_condition(config, 3);
  const at::Tensor tokens = tests::tiny_tokens(config, 3);
  const Pass before = learn(model, condition, tokens);
  condition.text = condition.text.clone();
  int64_t padding = 0;
  for (int64_t row = 0; row < 3; ++row) {
    const at::Tensor rest = condition.text[row].slice(0, condition.lengths[row].item<int64_t>());
    padding += rest.numel();
    rest.copy_((rest + 1).remainder(config.text_vocabulary));
  }
  ASSERT_GT(padding, 0);
  const Pass after = learn(model, condition, tokens);
  EXPECT_TRUE(after.loss.equal(before.loss));
  EXPECT_TRUE(after.record.auxiliary.equal(before.record.auxiliary));
}

TEST(ExpertLayer, TheTaskDecides) {
  const Config config = tests::tiny_experts("task");
  Model model = double_model(config);
  Condition condition = tests::tiny_condition(config, 2);
  const at::Tensor tokens = tests::tiny_tokens(config, 2);
  ForwardOptions options;
  options.compute = at::kDouble;
  condition.tasks = at::tensor({0, 1}, at::kLong);
  const at::Tensor before = logits(model, condition, tokens, options);
  condition.tasks = at::tensor({0, 2}, at::kLong);
  const at::Tensor after = logits(model, condition, tokens, options);
  EXPECT_LT(relative_difference(after[0], before[0]), 1e-12);
  EXPECT_GT(relative_difference(after[1], before[1]), 1e-6);

  condition.tasks = at::Tensor();
  expect_error(ErrorKind::kUsage, "expected tasks (B) int64, got none",
               [&] { logits(model, condition, tokens, options); });
  condition.tasks = at::tensor({0, 3}, at::kLong);
  expect_error(ErrorKind::kBadData, "expected tasks in 0 to 2, got 3",
               [&] { logits(model, condition, tokens, options); });
  condition.tasks = at::tensor({0}, at::kLong);
  expect_error(ErrorKind::kUsage, "expected one task a row, got 1 for 2",
               [&] { logits(model, condition, tokens, options); });
}

TEST(ExpertLayer, GegluIsTheGateThroughGeluTimesTheValue) {
  Config config;
  config.activation = "geglu";
  const at::Tensor up = tests::random_tensor(1, {2, 3, 8}).to(at::kDouble);
  const at::Tensor gate = up.slice(2, 0, 4), value = up.slice(2, 4);
  // gelu's tanh form: x sigmoid(sqrt(8 / pi) (x + 0.044715 x^3))
  const at::Tensor wanted =
      gate * at::sigmoid(1.5957691216057308 * (gate + 0.044715 * gate.pow(3))) * value;
  EXPECT_LT(relative_difference(activated(config, up, 4), wanted), 1e-10);
}

}  // namespace
}  // namespace lexel::ar
