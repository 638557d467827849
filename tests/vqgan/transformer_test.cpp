#include "vqgan/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"

namespace lexel::vqgan {
namespace {

/// softmax(q k^T / sqrt(d)) v, head by head in float64.
at::Tensor attention_by_hand(const at::Tensor& qkv, int64_t heads) {
  const auto x = qkv.to(at::kDouble);
  const int64_t inner = x.size(2) / 3, width = inner / heads;
  auto result = x.narrow(2, 0, inner).clone();
  for (int64_t h = 0; h < heads; ++h) {
    const auto part = [&](int64_t which) { return x.narrow(2, which * inner + h * width, width); };
    const auto scores =
        at::matmul(part(0), part(1).transpose(1, 2)) / std::sqrt(static_cast<double>(width));
    result.narrow(2, h * width, width).copy_(at::matmul(at::softmax(scores, -1), part(2)));
  }
  return result;
}

TEST(TransformerTest, AttentionEqualsTheEquation) {
  const auto qkv = tests::random_tensor(1, {2, 7, 3 * 3 * 4});
  const auto expected = attention_by_hand(qkv, 3);
  EXPECT_LT((attention(qkv, 3) - expected).abs().max().item<double>(), 1e-6);
  const auto half = qkv.to(at::kBFloat16);
  EXPECT_LT((attention(half, 3) - attention_by_hand(half, 3)).abs().max().item<double>(), 0.03);
}

TEST(TransformerTest, AttentionIsDifferentiableInBothDtypes) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    auto qkv = tests::random_tensor(2, {1, 5, 24}).to(dtype).requires_grad_();
    auto reference = qkv.detach().to(at::kDouble).requires_grad_();
    attention(qkv, 2).to(at::kFloat).square().sum().backward();
    const int64_t inner = 8, width = 4;
    at::Tensor sum;
    for (int64_t h = 0; h < 2; ++h) {
      const auto part = [&](int64_t which) {
        return reference.narrow(2, which * inner + h * width, width);
      };
      const auto mixed =
          at::matmul(at::softmax(at::matmul(part(0), part(1).transpose(1, 2)) / 2.0, -1), part(2));
      sum = sum.defined() ? sum + mixed.square().sum() : mixed.square().sum();
    }
    sum.backward();
    const double tolerance = dtype == at::kFloat ? 1e-5 : 0.1;
    EXPECT_LT((qkv.grad().to(at::kDouble) - reference.grad()).abs().max().item<double>(),
              tolerance);
  }
}

TEST(TransformerTest, SincosHoldsTheColumnFirst) {
  const auto table = sincos_positions(2, 3, 8);  // omega = 1, 1/100
  const auto row = table[5];                     // row 1, column 2
  const double expected[] = {std::sin(2.0), std::sin(0.02), std::cos(2.0), std::cos(0.02),
                             std::sin(1.0), std::sin(0.01), std::cos(1.0), std::cos(0.01)};
  for (int64_t i = 0; i < 8; ++i) EXPECT_NEAR(row[i].item<double>(), expected[i], 1e-7) << i;
}

TEST(TransformerTest, PositionsOfTheOwnGridAreUntouchedAndOthersAreResampled) {
  const auto table = tests::random_tensor(3, {16, 5});
  EXPECT_TRUE(at::equal(positions_for_grid(table, 4, 4), table));
  EXPECT_EQ(positions_for_grid(table, 3, 6).sizes(), (std::vector<int64_t>{18, 5}));
  // A table that rises with the column still does, in the middle of a grid of twice the columns.
  const auto ramp = at::arange(4, at::kFloat).repeat({4}).unsqueeze(1);  // column number
  const auto wide = positions_for_grid(ramp, 4, 8).reshape({4, 8});
  EXPECT_NEAR(wide[0][3].item<double>(), 1.25, 0.05);
  EXPECT_NEAR(wide[2][4].item<double>(), 1.75, 0.05);
}

TEST(TransformerTest, AStackIsListedWithItsOptions) {
  StackConfig config;
  config.depth = 1;
  config.width = 4;
  config.heads = 1;
  config.head_width = 2;
  config.hidden = 6;
  config.qkv_bias = false;
  config.tanh_head = false;
  Stack stack;
  ParameterList list;
  list_stack("s", stack, config, 3, false, "", list);
  // norms 3 * 8, qkv 24, out 12, up 30, down 28, head 15
  EXPECT_EQ(parameter_count(list), 24 + 24 + 12 + 30 + 28 + 15);
  config.qkv_bias = true;   // 6
  config.tanh_head = true;  // 20
  list.clear();
  list_stack("s", stack, config, 3, false, "", list);
  EXPECT_EQ(parameter_count(list), 133 + 6 + 20);
}

TEST(TransformerTest, AZeroHeadGivesZeroAndBfloat16FollowsFloat) {
  StackConfig config;
  config.depth = 2;
  config.width = 32;
  config.heads = 4;
  config.head_width = 8;
  config.hidden = 64;
  Stack stack;
  ParameterList list;
  list_stack("s", stack, config, 6, true, "", list);
  initialise(list, 4, at::kCPU);
  const auto tokens = tests::random_tensor(5, {2, 9, 32});
  EXPECT_EQ(run_stack(stack, config, tokens, at::kFloat).abs().max().item<float>(), 0.0F);
  stack.head.weight.copy_(tests::random_tensor(6, {6, 32}) / 4);
  const auto exact = run_stack(stack, config, tokens, at::kFloat);
  const auto rounded = run_stack(stack, config, tokens, at::kBFloat16);
  EXPECT_EQ(rounded.scalar_type(), at::kFloat);
  EXPECT_LT(tests::relative_difference(rounded, exact), 0.03);
  for (const char* activation : {"gelu", "tanh"}) {
    StackConfig other = config;
    other.activation = activation;
    EXPECT_EQ(at::equal(run_stack(stack, other, tokens, at::kFloat), exact),
              config.activation == activation);
  }
}

}  // namespace
}  // namespace lexel::vqgan
