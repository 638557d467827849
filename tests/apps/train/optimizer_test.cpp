#include "apps/train/optimizer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

using tests::expect_error;

/// The piece of a name; undefined: none.
at::Tensor find(const std::vector<StatePiece>& state, const std::string& name) {
  for (const StatePiece& piece : state)
    if (piece.name == name) return piece.tensor;
  return {};
}

struct TwoTensors {
  at::Tensor a = at::full({2}, 1.0, at::kFloat), b = at::full({3}, 2.0, at::kFloat);
  ParameterList list = {{"a", {2}, Init::zeros(), &a, "first"},
                        {"b", {3}, Init::zeros(), &b, "second", /*decay=*/false}};

  TwoTensors() { require_gradients(list, true); }
  void set_gradients(double of_a, double of_b) {
    a.mutable_grad() = at::full({2}, of_a, at::kFloat);
    b.mutable_grad() = at::full({3}, of_b, at::kFloat);
  }
};

TEST(Optimizer, FirstStepMovesEachWeightByTheRate) {
  TwoTensors t;
  Optimizer optimizer(t.list, {});
  t.set_gradients(0.5, -0.1);
  const double norm = optimizer.step(0.01, {});
  EXPECT_NEAR(norm, std::sqrt(2 * 0.25 + 3 * 0.01), 1e-6);
  EXPECT_NEAR(t.a[0].item<float>(), 0.99, 1e-6);
  EXPECT_NEAR(t.b[0].item<float>(), 2.01, 1e-6);
}

TEST(Optimizer, FactorZeroLeavesAGroupAsItIs) {
  TwoTensors t;
  OptimizerOptions options;
  options.weight_decay = 0.5;
  Optimizer optimizer(t.list, options);
  t.set_gradients(1.0, 1.0);
  optimizer.step(0.01, {{"first", 0.0}});
  EXPECT_EQ(t.a[0].item<float>(), 1.0f);
  EXPECT_NE(t.b[0].item<float>(), 2.0f);
}

TEST(Optimizer, FactorZeroStopsGradients) {
  TwoTensors t;
  Optimizer optimizer(t.list, {});
  optimizer.select_trained({{"first", 0.0}});
  EXPECT_FALSE(t.a.requires_grad());
  EXPECT_TRUE(t.b.requires_grad());
  optimizer.select_trained({});
  EXPECT_TRUE(t.a.requires_grad());
}

TEST(Optimizer, WeightDecayIsForMatricesOnly) {
  TwoTensors t;
  OptimizerOptions options;
  options.weight_decay = 0.5;
  Optimizer optimizer(t.list, options);
  t.set_gradients(0.0, 0.0);
  optimizer.step(0.1, {});
  EXPECT_NEAR(t.a[0].item<float>(), 0.95, 1e-6);
  EXPECT_EQ(t.b[0].item<float>(), 2.0f);
}

TEST(Optimizer, ClippingScalesTheWholeGradient) {
  TwoTensors clipped, scaled;
  OptimizerOptions options;
  options.clip_norm = 1.0;
  options.epsilon = 1.0;  // so that the size of the gradient matters
  Optimizer with(clipped.list, options);
  options.clip_norm = 0.0;
  Optimizer without(scaled.list, options);
  clipped.set_gradients(3.0, 4.0);
  const double norm = std::sqrt(2 * 9.0 + 3 * 16.0);
  scaled.set_gradients(3.0 / norm, 4.0 / norm);
  EXPECT_NEAR(with.step(0.1, {}), norm, 1e-5);
  without.step(0.1, {});
  EXPECT_TRUE(clipped.a.detach().allclose(scaled.a.detach()));
  EXPECT_TRUE(clipped.b.detach().allclose(scaled.b.detach()));
}

TEST(Optimizer, NamesTheGradientThatIsNotFiniteAndChangesNothing) {
  TwoTensors t;
  Optimizer optimizer(t.list, {});
  t.set_gradients(1.0, NAN);
  expect_error(ErrorKind::kBadData, "the gradient of b is not finite",
               [&] { optimizer.step(0.1, {}); });
  EXPECT_EQ(t.a[0].item<float>(), 1.0f);
  EXPECT_EQ(optimizer.steps(), 0);
}

TEST(Optimizer, AveragesFollowTheWeightsAndAreSwappedExactly) {
  TwoTensors t;
  OptimizerOptions options;
  options.average = 0.999;
  Optimizer optimizer(t.list, options);
  t.set_gradients(1.0, 1.0);
  optimizer.step(0.1, {});
  const at::Tensor weights = t.a.detach().clone();
  optimizer.swap_averages();
  // Decay of step 1: (1 + 1) / (10 + 1).
  EXPECT_NEAR(t.a[0].item<float>(), 1.0 + (0.9 - 1.0) * (1.0 - 2.0 / 11.0), 1e-6);
  optimizer.swap_averages();
  EXPECT_TRUE(t.a.detach().equal(weights));
}

TEST(Optimizer, TensorsThatAreNotTrainedAreLeftOut) {
  TwoTensors t;
  t.list[0].trained = false;
  const Optimizer optimizer(t.list, {});
  EXPECT_FALSE(find(optimizer.state(), "first/a").defined());
  EXPECT_TRUE(find(optimizer.state(), "first/b").defined());
}

TEST(Optimizer, AdafactorsFirstStepIsTheRateOnceClippedToRootMeanSquareOne) {
  for (const Method method : {Method::kAdafactor, Method::kAdafactorInt8}) {
    TwoTensors t;
    Optimizer optimizer(t.list, {.beta1 = 0.0, .beta2 = 0.96, .epsilon = 1e-30, .method = method});
    t.set_gradients(0.5, -0.1);
    optimizer.step(0.01, {});
    EXPECT_NEAR(t.a[0].item<float>(), 0.99, 1e-6);
    EXPECT_NEAR(t.b[0].item<float>(), 2.01, 1e-6);
  }
}

TEST(Optimizer, AdafactorKeepsTwoFactorsAndASmallFirstMoment) {
  at::Tensor matrix = at::full({4, 6}, 1.0, at::kFloat);
  ParameterList list = {{"m", {4, 6}, Init::ones(), &matrix}};
  require_gradients(list, true);
  const auto state = Optimizer(list, {.epsilon = 1e-30, .method = Method::kAdafactorInt8}).state();
  EXPECT_EQ(find(state, "first/m").scalar_type(), at::kChar);
  EXPECT_EQ(find(state, "rows/m").numel(), 4);
  EXPECT_EQ(find(state, "columns/m").numel(), 6);
  EXPECT_EQ(find(state, "scales/m").numel(), 1);
  EXPECT_FALSE(find(state, "second/m").defined());
}

}  // namespace
}  // namespace lexel::train
