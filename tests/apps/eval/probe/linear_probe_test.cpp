#include "apps/eval/probe/linear_probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "apps/eval/probe/lbfgs.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::eval {
namespace {

using tests::expect_error;

TEST(Lbfgs, FindsTheMinimumOfAnIllConditionedQuadratic) {
  const at::Tensor scale = at::tensor({1.0, 10.0, 100.0, 1000.0, 1e4}, at::kDouble);
  const at::Tensor minimum = at::tensor({1.0, -2.0, 3.0, -4.0, 5.0}, at::kDouble);
  const LbfgsResult found = minimise(
      [&](const at::Tensor& x) {
        const at::Tensor away = x - minimum;
        return ValueAndGradient{0.5 * (scale * away.square()).sum().item<double>(), scale * away};
      },
      at::zeros({5}, at::kDouble), 100, 1e-8);
  EXPECT_TRUE(found.converged);
  EXPECT_LT((found.point - minimum).abs().max().item<double>(), 1e-7);
  EXPECT_LT(found.iterations, 60);
}

TEST(Lbfgs, FindsTheMinimumOfRosenbrocksFunction) {
  const LbfgsResult found = minimise(
      [](const at::Tensor& x) {
        const double a = x[0].item<double>(), b = x[1].item<double>();
        const double valley = b - a * a;
        return ValueAndGradient{
            (1.0 - a) * (1.0 - a) + 100.0 * valley * valley,
            at::tensor({-2.0 * (1.0 - a) - 400.0 * a * valley, 200.0 * valley}, at::kDouble)};
      },
      at::tensor({-1.2, 1.0}, at::kDouble), 200, 1e-8);
  EXPECT_TRUE(found.converged);
  EXPECT_NEAR(found.point[0].item<double>(), 1.0, 1e-6);
  EXPECT_NEAR(found.point[1].item<double>(), 1.0, 1e-6);
}

/// Three clouds in the plane and a constant input, of very different spreads.
ProbeInputs clouds(const at::Tensor& labels, uint64_t seed) {
  const int64_t count = labels.size(0);
  const at::Tensor centres =
      at::tensor({0.0, 0.0, 6.0, 0.0, 0.0, 6.0}).to(at::kFloat).reshape({3, 2});
  const at::Tensor plane = centres.index_select(0, labels) + tests::random_tensor(seed, {count, 2});
  const at::Tensor x =
      at::cat({plane * at::tensor({1000.0F, 0.001F}), at::full({count, 1}, 7.0)}, 1);
  return {x, {}, 3};
}

double accuracy(const LinearProbe& probe, const ProbeInputs& inputs, const at::Tensor& labels) {
  return predict(probe, inputs).eq(labels).to(at::kDouble).mean().item<double>();
}

TEST(LinearProbe, SeparatesCloudsWhateverTheirScale) {
  const at::Tensor labels = tests::random_ids(1, {600}, 3), fresh = tests::random_ids(2, {300}, 3);
  const LinearProbe probe = fit_probe(clouds(labels, 3), labels, 3, 1e-4);
  EXPECT_GT(accuracy(probe, clouds(fresh, 4), fresh), 0.97);
  EXPECT_TRUE(probe.weight.isfinite().all().item<bool>());
}

TEST(LinearProbe, KnowsNothingOfNoise) {
  const at::Tensor labels = tests::random_ids(1, {500}, 4), fresh = tests::random_ids(2, {2000}, 4);
  const ProbeInputs noise{tests::random_tensor(3, {500, 5}), {}, 5};
  const ProbeInputs more{tests::random_tensor(4, {2000, 5}), {}, 5};
  EXPECT_NEAR(accuracy(fit_probe(noise, labels, 4, 1e-3), more, fresh), 0.25, 0.05);
}

TEST(LinearProbe, ReadsWhichOnesThereAre) {
  // The class is whether code 0 stands at the last of three places.
  const at::Tensor ids = tests::random_ids(1, {400, 3}, 5);
  const at::Tensor labels = ids.select(1, 2).eq(0).to(at::kLong);
  const ProbeInputs placed{{}, ids + at::arange(3) * 5, 15};
  EXPECT_EQ(accuracy(fit_probe(placed, labels, 2, 1e-5), placed, labels), 1.0);
  const ProbeInputs counted{{}, ids, 5};  // places are lost
  EXPECT_LT(accuracy(fit_probe(counted, labels, 2, 1e-5), counted, labels), 0.95);
}

TEST(LinearProbe, OnesEqualTheSameInputsWrittenOut) {
  const at::Tensor ids = tests::random_ids(1, {200, 4}, 6), labels = tests::random_ids(2, {200}, 3);
  at::Tensor table = at::zeros({200, 6});
  table.scatter_add_(1, ids, at::full({200, 4}, 1.0));
  // Standardising changes what decay costs, so there is none.
  const LinearProbe sparse = fit_probe({{}, ids, 6}, labels, 3, 0.0);
  const at::Tensor logits = at::matmul(table, sparse.weight) + sparse.bias;
  EXPECT_TRUE(logits.argmax(1).equal(predict(sparse, {{}, ids, 6})));
  const LinearProbe dense = fit_probe({table, {}, 6}, labels, 3, 0.0);
  const double agree = predict(dense, {table, {}, 6})
                           .eq(predict(sparse, {{}, ids, 6}))
                           .to(at::kDouble)
                           .mean()
                           .item<double>();
  EXPECT_GT(agree, 0.98);
}

TEST(LinearProbe, ChoosesMoreDecayWhereThereIsLittleToLearnFrom) {
  // 60 pictures of 200 inputs, of which one tells the class.
  const auto draw = [](int64_t count, uint64_t seed) {
    at::Tensor x = tests::random_tensor(seed, {count, 200});
    const at::Tensor labels = x.select(1, 0).gt(0).to(at::kLong);
    return std::pair(ProbeInputs{x, {}, 200}, labels);
  };
  const auto [inputs, labels] = draw(60, 1);
  const ChosenProbe chosen = choose_probe(inputs, labels, 2);
  EXPECT_GE(chosen.decay, 1e-5);
  EXPECT_LE(chosen.decay, 1e-1);
  const auto [fresh, wanted] = draw(2000, 2);
  EXPECT_GT(accuracy(chosen.probe, fresh, wanted), 0.52);
}

TEST(LinearProbe, WrongArgumentsAreNamed) {
  const ProbeInputs inputs{at::zeros({4, 2}), {}, 2};
  expect_error(ErrorKind::kUsage, "fit_probe: expected one label a picture, got [3] for 4",
               [&] { fit_probe(inputs, at::zeros({3}, at::kLong), 2, 0.1); });
  expect_error(ErrorKind::kUsage, "fit_probe: expected at least one picture, got none", [&] {
    fit_probe({at::zeros({0, 2}), {}, 2}, at::zeros({0}, at::kLong), 2, 0.1);
  });
}

}  // namespace
}  // namespace lexel::eval
