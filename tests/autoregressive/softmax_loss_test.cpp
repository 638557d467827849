#include "autoregressive/softmax_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"

namespace lexel::ar {
namespace {

using tests::random_ids;
using tests::random_tensor;
using tests::relative_difference;

constexpr int64_t kRows = 1100, kCodes = 13;  // three parts of rows, the last one short

struct Problem {
  explicit Problem(at::ScalarType type)
      : x(random_tensor(1, {kRows, 6}).to(type).requires_grad_()),
        softmax{random_tensor(2, {kCodes, 6}).requires_grad_(),
                random_tensor(3, {kCodes}).requires_grad_()} {
    if (type == at::kDouble) {
      softmax = {softmax.weight.detach().to(type).requires_grad_(),
                 softmax.bias.detach().to(type).requires_grad_()};
    }
  }
  at::Tensor loss() const { return softmax_loss(softmax, x, targets); }
  /// By LibTorch's operators, all logits at once.
  at::Tensor plain() const { return at::cross_entropy_loss(apply_linear(softmax, x), targets); }
  std::vector<at::Tensor> gradients(const at::Tensor& loss) const {
    loss.backward();
    std::vector<at::Tensor> result;
    for (const at::Tensor& leaf : {x, softmax.weight, softmax.bias}) {
      result.push_back(leaf.grad().clone());
      leaf.mutable_grad().reset();
    }
    return result;
  }

  at::Tensor x;
  Linear softmax;
  at::Tensor targets = random_ids(4, {kRows}, kCodes);
};

TEST(SoftmaxLoss, LossAndGradientsAreThoseOfAllLogitsAtOnce) {
  const Problem problem(at::kDouble);
  EXPECT_EQ(problem.loss().scalar_type(), at::kDouble);
  EXPECT_LT(relative_difference(problem.loss(), problem.plain()), 1e-12);
  // A factor behind the loss reaches the gradients.
  const auto got = problem.gradients(problem.loss() * 3.0);
  const auto wanted = problem.gradients(problem.plain() * 3.0);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(relative_difference(got[i], wanted[i]), 1e-12) << i;
  }
}

TEST(SoftmaxLoss, HalfPrecisionIsOfTheProductsOnly) {
  const Problem problem(at::kBFloat16), exact(at::kDouble);
  EXPECT_EQ(problem.loss().scalar_type(), at::kFloat);
  EXPECT_LT(relative_difference(problem.loss(), exact.plain()), 0.01);
  const auto got = problem.gradients(problem.loss());
  const auto wanted = exact.gradients(exact.plain());
  EXPECT_EQ(got[0].scalar_type(), at::kBFloat16);
  EXPECT_EQ(got[1].scalar_type(), at::kFloat);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(relative_difference(got[i], wanted[i]), 0.05) << i;
  }
}

TEST(SoftmaxLoss, WithoutGradientsItIsTheMeanOfTheLikelihoods) {
  const Problem problem(at::kFloat);
  const double with = problem.loss().item<double>();
  const at::NoGradGuard no_grad;
  const at::Tensor likelihoods = log_likelihoods(problem.softmax, problem.x, problem.targets);
  ASSERT_EQ(likelihoods.sizes(), at::IntArrayRef({kRows}));
  EXPECT_LE(likelihoods.max().item<float>(), 0.0F);
  EXPECT_NEAR(-likelihoods.mean().item<double>(), with, 1e-5);
  EXPECT_NEAR(problem.loss().item<double>(), with, 1e-5);
  EXPECT_FALSE(problem.loss().requires_grad());
}

TEST(SoftmaxLoss, ARowsLikelihoodDoesNotDependOnItsPart) {
  const Problem problem(at::kDouble);
  const at::Tensor all = log_likelihoods(problem.softmax, problem.x, problem.targets);
  for (const int64_t row : {0, 511, 512, 1099}) {
    const at::Tensor alone = log_likelihoods(problem.softmax, problem.x.narrow(0, row, 1),
                                             problem.targets.narrow(0, row, 1));
    EXPECT_NEAR(alone.item<double>(), all[row].item<double>(), 1e-12) << row;
  }
  EXPECT_EQ(
      log_likelihoods(problem.softmax, at::zeros({0, 6}), problem.targets.narrow(0, 0, 0)).size(0),
      0);
}

}  // namespace
}  // namespace lexel::ar
