#include "autoregressive/moe/experts.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "autoregressive/moe/gating_reference.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::moe {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::relative_difference;

constexpr int64_t kGroups = 2, kSize = 12, kWidth = 6, kExperts = 3, kHidden = 5;

at::Tensor leaf(uint64_t seed, const std::vector<int64_t>& shape) {
  return random_tensor(seed, shape).to(at::kDouble).requires_grad_();
}

at::Tensor rectified(const at::Tensor& x) { return at::relu(x); }

/// Everything that a layer reads, and that gets a gradient.
struct Inputs {
  at::Tensor x = leaf(1, {kGroups, kSize, kWidth});
  Experts experts{leaf(2, {kExperts, kWidth}),
                  {},
                  leaf(3, {kExperts * kHidden, kWidth}),
                  leaf(4, {kExperts * kWidth, kHidden})};

  at::Tensor logits() const { return x.matmul(experts.router.t()); }
  std::vector<at::Tensor> gradients() const {
    return {x.grad(), experts.router.grad(), experts.up.grad(), experts.down.grad()};
  }
};

at::Tensor wanted_output(const Inputs& in, const DenseGating& gating) {
  return experts_reference(in.x, gating, in.experts.up.view({kExperts, kHidden, kWidth}),
                           in.experts.down.view({kExperts, kWidth, kHidden}));
}

TEST(Experts, EqualTheEinsumFormWithAllGradients) {
  for (const GatingOptions options :
       {GatingOptions{Gating::kGShard, 1.0}, GatingOptions{Gating::kGShard, 0.4},
        GatingOptions{Gating::kLingvo, 0.6}}) {
    const at::Tensor noise = second_choice_noise(1, 2, "layer", 0, kGroups, kSize);
    const Inputs a, b;
    const Routing routing = top2_gating(a.logits(), noise, {}, options);
    const at::Tensor got =
        apply_experts(a.x.flatten(0, 1), a.experts, routing, rectified).view(a.x.sizes());
    const DenseGating gating = gating_reference(b.logits(), noise, options);
    const at::Tensor wanted = wanted_output(b, gating);
    EXPECT_LT(relative_difference(got, wanted), 1e-10);

    const at::Tensor weights = random_tensor(9, {kGroups, kSize, kWidth}).to(at::kDouble);
    ((got * weights).sum() + 50.0 * routing.auxiliary).backward();
    ((wanted * weights).sum() + 50.0 * gating.auxiliary).backward();
    for (size_t i = 0; i < a.gradients().size(); ++i) {
      EXPECT_LT(relative_difference(a.gradients()[i], b.gradients()[i]), 1e-10) << i;
    }
  }
}

TEST(Experts, DifferingAndEvenRowsGiveTheSame) {
  const Inputs a, b;
  const auto run = [](const Inputs& in, bool even) {
    const Routing routing = unlimited_gating(
        in.logits().flatten(0, 1), {},
        even ? [](int64_t most) { return most + 2; } : std::function<int64_t(int64_t)>());
    return apply_experts(in.x.flatten(0, 1), in.experts, routing, rectified);
  };
  const at::Tensor ragged = run(a, false), even = run(b, true);
  EXPECT_LT(relative_difference(ragged, even), 1e-12);
  ragged.square().sum().backward();
  even.square().sum().backward();
  for (size_t i = 0; i < a.gradients().size(); ++i) {
    EXPECT_LT(relative_difference(a.gradients()[i], b.gradients()[i]), 1e-12) << i;
  }
  // And what the reference gives with room for all.
  const at::Tensor none = at::zeros({kGroups, kSize}, at::kDouble);
  const Inputs c;
  const DenseGating gating = gating_reference(c.logits(), none, {Gating::kGShard, 10.0});
  EXPECT_LT(relative_difference(ragged.view(c.x.sizes()), wanted_output(c, gating)), 1e-10);
}

TEST(Experts, ATokenThatNoneTakesGetsZerosAndGivesNoGradient) {
  const at::NoGradGuard no_grad;
  Inputs in;
  in.x.fill_(1.0);  // all alike: the first ceil(0.2 * 2 * 12 / 3) = 2 tokens fill both experts
  const at::Tensor noise = at::zeros({kGroups, kSize}, at::kDouble);
  const Routing routing = top2_gating(in.logits(), noise, {}, {Gating::kGShard, 0.2});
  const at::Tensor y = apply_experts(in.x.flatten(0, 1), in.experts, routing, rectified)
                           .view({kGroups, kSize, kWidth});
  EXPECT_GT(y.slice(1, 0, 2).abs().sum().item<double>(), 0.0);
  EXPECT_EQ(y.slice(1, 2).abs().sum().item<double>(), 0.0);
}

TEST(Experts, RunInBfloat16) {
  const Inputs in;
  const Routing routing = unlimited_gating(in.logits().flatten(0, 1).to(at::kFloat), {});
  const at::Tensor wide = apply_experts(in.x.flatten(0, 1), in.experts, routing, rectified);
  const at::Tensor narrow =
      apply_experts(in.x.flatten(0, 1).to(at::kBFloat16), in.experts, routing, rectified);
  EXPECT_EQ(narrow.scalar_type(), at::kFloat);
  EXPECT_LT(relative_difference(narrow, wide), 0.02);
}

TEST(Experts, NoTokensAreNoTrouble) {
  const Inputs in;
  const at::Tensor none = in.x.flatten(0, 1).slice(0, 0, 0);
  const Routing routing = unlimited_gating(none.matmul(in.experts.router.t()), {});
  EXPECT_EQ(apply_experts(none, in.experts, routing, rectified).size(0), 0);
}

TEST(Experts, MatricesOfAnotherShapeAreRefused) {
  const Inputs in;
  Experts wrong = in.experts;
  wrong.down = wrong.down.slice(0, 1);
  const Routing routing = unlimited_gating(in.logits().flatten(0, 1), {});
  expect_error(ErrorKind::kUsage,
               "moe::apply_experts: expected matrices (3 hidden, 6) and (3 6, hidden)",
               [&] { apply_experts(in.x.flatten(0, 1), wrong, routing, rectified); });
}

TEST(UseEntropy, IsOneWhereAllAreUsedAlikeAndZeroWhereOneIs) {
  EXPECT_NEAR(use_entropy(at::tensor({5, 5, 5, 5}, at::kLong)).item<double>(), 1.0, 1e-12);
  EXPECT_NEAR(use_entropy(at::tensor({9, 0, 0, 0}, at::kLong)).item<double>(), 0.0, 1e-12);
  EXPECT_NEAR(use_entropy(at::tensor({1, 1, 0, 0}, at::kLong)).item<double>(), 0.5, 1e-12);
}

}  // namespace
}  // namespace lexel::moe
