// A model that cannot learn a few pictures by heart has a broken gradient, mask or position somewhere.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include "autoregressive/generate.h"
#include "autoregressive/model.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/autoregressive/train_tiny.h"

namespace lexel::ar {
namespace {

using tests::train;

/// Places where the likeliest token, given the true ones before it, is not the true one.
int64_t wrong_places(const Model& model, const Condition& condition, const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  return logits(model, condition, tokens).argmax(2).ne(tokens).sum().item<int64_t>();
}

/// Tokens of the pictures that are not the true ones where each is drawn from those before it, the likeliest each time.
int64_t wrongly_drawn(const Model& model, const Condition& condition, const at::Tensor& tokens) {
  const PackedModel packed = pack(model, kernels::WeightFormat::kBFloat16);
  const at::Tensor pictures = at::arange(tokens.size(0), at::kLong);
  GenerateOptions likeliest;
  likeliest.temperature = 0.0;
  return generate(packed, condition, {}, pictures, likeliest)
      .tokens.ne(tokens)
      .sum()
      .item<int64_t>();
}

struct Case {
  const char* name;
  Config config;
};

std::vector<Case> cases() {
  Config dense = tests::tiny_parti(), conv = tests::tiny_parti(), vim = tests::tiny_vim();
  for (Config* const config : {&dense, &conv, &vim}) {
    config->width = 32;
    config->hidden = 64;
    config->grid_height = config->grid_width = 4;
  }
  dense.conv_layers = "";
  conv.conv_layers = "all";
  vim.classes = 40;
  return {{"Dense", dense}, {"Conv", conv}, {"Vim", vim}};
}

class OverfitTest : public testing::TestWithParam<Case> {};

TEST_P(OverfitTest, OnePairIsKnownByHeart) {
  Model model = make_model(GetParam().config, 1, at::kCPU);
  const Condition condition = tests::tiny_condition(model.config, 1);
  const at::Tensor tokens = tests::tiny_tokens(model.config, 1);
  EXPECT_GT(wrong_places(model, condition, tokens), 10);
  EXPECT_LT(train(model, condition, tokens, 60, 0.01), 0.1);
  EXPECT_EQ(wrong_places(model, condition, tokens), 0);
  EXPECT_EQ(wrongly_drawn(model, condition, tokens), 0);
}

TEST_P(OverfitTest, ThirtyTwoPairsAreKnownByHeart) {
  Model model = make_model(GetParam().config, 1, at::kCPU);
  Condition condition = tests::tiny_condition(model.config, 32);
  if (condition.text.defined()) condition.text.select(1, 0).copy_(at::arange(32));  // all differ
  if (condition.classes.defined()) condition.classes = at::arange(32);
  const at::Tensor tokens = tests::tiny_tokens(model.config, 32);
  EXPECT_LT(train(model, condition, tokens, 300, 0.01), 0.1);
  EXPECT_EQ(wrong_places(model, condition, tokens), 0);
  EXPECT_EQ(wrongly_drawn(model, condition, tokens), 0);
}

INSTANTIATE_TEST_SUITE_P(Configs, OverfitTest, testing::ValuesIn(cases()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(OverfitInBFloat16Test, OnePairIsKnownByHeart) {
  Model model = make_model(cases()[0].config, 1, at::kCPU);
  const Condition condition = tests::tiny_condition(model.config, 1);
  const at::Tensor tokens = tests::tiny_tokens(model.config, 1);
  EXPECT_LT(train(model, condition, tokens, 60, 0.01, {.compute = at::kBFloat16}), 0.1);
  EXPECT_EQ(wrong_places(model, condition, tokens), 0);
}

}  // namespace
}  // namespace lexel::ar
