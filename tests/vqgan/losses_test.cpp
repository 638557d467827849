#include "vqgan/losses.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logit.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <string>

#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;
using tests::gradient_error;
using tests::random_tensor;
using tests::random_uniform;

at::Tensor numbers(std::initializer_list<double> values) {
  return at::tensor(at::ArrayRef<double>(values), at::kDouble);
}

at::Tensor normal(uint64_t seed, const std::vector<int64_t>& shape) {
  return random_tensor(seed, shape).to(at::kDouble);
}

at::Tensor picture(uint64_t seed, const std::vector<int64_t>& shape) {
  return random_uniform(seed, shape).to(at::kDouble);
}

TEST(CodebookLoss, IsTheSquaredNormAveragedOverTokens) {
  const at::Tensor latents = numbers({1, 2, 3, 4}).reshape({1, 2, 2});
  const at::Tensor codes = numbers({1, 0, 0, 4}).reshape({1, 2, 2});
  EXPECT_DOUBLE_EQ(codebook_loss(latents, codes).item<double>(), (4.0 + 9.0) / 2);
  EXPECT_DOUBLE_EQ(commitment_loss(latents, codes).item<double>(), (4.0 + 9.0) / 2);
}

TEST(CodebookLoss, MovesTheCodesOnly) {
  const at::Tensor latents = normal(1, {2, 3, 4}).requires_grad_();
  const at::Tensor codes = normal(2, {2, 3, 4}).requires_grad_();
  codebook_loss(latents, codes).backward();
  EXPECT_FALSE(latents.grad().defined());
  EXPECT_LT(tests::relative_difference(codes.grad(), 2.0 / 6 * (codes - latents)), 1e-12);
}

TEST(CommitmentLoss, MovesTheLatentsOnly) {
  const at::Tensor latents = normal(1, {2, 3, 4}).requires_grad_();
  const at::Tensor codes = normal(2, {2, 3, 4}).requires_grad_();
  commitment_loss(latents, codes).backward();
  EXPECT_FALSE(codes.grad().defined());
  EXPECT_LT(tests::relative_difference(latents.grad(), 2.0 / 6 * (latents - codes)), 1e-12);
}

TEST(PixelLosses, HandMade) {
  const at::Tensor x = numbers({0.0, 0.5, 1.0, 1.0});
  const at::Tensor y = numbers({0.5, 0.5, 0.0, 0.5});
  EXPECT_DOUBLE_EQ(l2_loss(y, x).item<double>(), (0.25 + 0 + 1 + 0.25) / 4);
  EXPECT_DOUBLE_EQ(l1_loss(y, x).item<double>(), (0.5 + 0 + 1 + 0.5) / 4);
}

TEST(PixelLosses, GradientsAgreeWithFiniteDifferences) {
  const at::Tensor x = picture(3, {2, 3, 4, 4});
  const at::Tensor y = picture(4, {2, 3, 4, 4});
  EXPECT_LT(gradient_error([&](const at::Tensor& v) { return l2_loss(v, x); }, y), 1e-7);
  EXPECT_LT(gradient_error([&](const at::Tensor& v) { return l1_loss(v, x); }, y), 1e-7);
}

TEST(LogitLaplace, ReconstructionInvertsTheMap) {
  const at::Tensor images = picture(7, {2, 3, 5, 4});
  const at::Tensor mu = at::logit(images * 0.8 + 0.1);
  const at::Tensor output = at::cat({mu, normal(8, {2, 3, 5, 4})}, 1);
  EXPECT_LT(tests::relative_difference(logit_laplace_reconstruction(output), images), 1e-12);
}

TEST(LogitLaplace, ReconstructionClips) {
  const at::Tensor output =
      at::cat({at::full({1, 3, 1, 1}, 50.0, at::kDouble), at::zeros({1, 3, 1, 1}, at::kDouble)}, 1);
  EXPECT_EQ(logit_laplace_reconstruction(output).max().item<double>(), 1.0);
  EXPECT_EQ(logit_laplace_reconstruction(-output).min().item<double>(), 0.0);
}

TEST(GanLosses, HandMade) {
  const double ln2 = std::log(2.0);
  EXPECT_NEAR(generator_loss(numbers({0, 0})).item<double>(), ln2, 1e-12);
  EXPECT_NEAR(generator_loss(numbers({1})).item<double>(), std::log1p(std::exp(-1.0)), 1e-12);
  EXPECT_NEAR(discriminator_loss(numbers({0}), numbers({0})).item<double>(), 2 * ln2, 1e-12);
  EXPECT_NEAR(discriminator_loss(numbers({2}), numbers({-3})).item<double>(),
              std::log1p(std::exp(-2.0)) + std::log1p(std::exp(-3.0)), 1e-12);
}

TEST(GanLosses, GeneratorDoesNotSaturateWhereTheDiscriminatorIsSure) {
  const at::Tensor scores = numbers({-20}).requires_grad_();
  generator_loss(scores).backward();
  EXPECT_NEAR(scores.grad().item<double>(), -1.0, 1e-6);
}

TEST(GanLosses, GradientsAgreeWithFiniteDifferences) {
  const at::Tensor scores = normal(9, {5});
  const at::Tensor other = normal(10, {5});
  EXPECT_LT(gradient_error([](const at::Tensor& v) { return generator_loss(v); }, scores), 1e-7);
  EXPECT_LT(
      gradient_error([&](const at::Tensor& v) { return discriminator_loss(v, other); }, scores),
      1e-7);
  EXPECT_LT(
      gradient_error([&](const at::Tensor& v) { return discriminator_loss(other, v); }, scores),
      1e-7);
}

TEST(R1Penalty, HandMade) {
  // D(x) = sum of w x^2 has the gradient 2 w x: with w = 3 and x = (1, 2) the squared norm is 36 + 144.
  const at::Tensor images = numbers({1, 2, 0, 1}).reshape({2, 2}).requires_grad_();
  const at::Tensor scores = (3 * images * images).sum(1);
  EXPECT_DOUBLE_EQ(r1_penalty(images, scores).item<double>(), (180.0 + 36.0) / 2);
}

TEST(R1Penalty, SecondDerivativeAgreesWithFiniteDifferences) {
  const at::Tensor weight = normal(11, {3, 4});
  const at::Tensor pictures = normal(12, {2, 4});
  const auto penalty = [&](const at::Tensor& w) {
    const at::Tensor images = pictures.detach().clone().requires_grad_();
    return r1_penalty(images, images.matmul(w.t()).tanh().sum(1));
  };
  EXPECT_LT(gradient_error(penalty, weight), 1e-7);
}

TEST(AdaptiveWeight, IsTheRatioOfGradientNorms) {
  const at::Tensor layer = numbers({1, 1}).requires_grad_();
  const at::Tensor reconstruction = (layer * numbers({6, 8})).sum();  // norm 10
  const at::Tensor gan = (layer * numbers({3, 4})).sum();             // norm 5
  const at::Tensor weight = adaptive_weight(reconstruction, gan, layer, 1e4);
  EXPECT_NEAR(weight.item<double>(), 10 / (5 + 1e-4), 1e-12);
  EXPECT_FALSE(weight.requires_grad());
  (reconstruction + gan).backward();  // the graphs are still there
}

TEST(AdaptiveWeight, IsClamped) {
  const at::Tensor layer = numbers({1, 1}).requires_grad_();
  const at::Tensor reconstruction = 100 * layer.sum();
  const at::Tensor gan = 0 * layer.sum();
  EXPECT_EQ(adaptive_weight(reconstruction, gan, layer, 7).item<double>(), 7);
}

TEST(LossWeights, DefaultsAreThePapers) {
  const LossWeights weights;
  EXPECT_EQ(weights.commitment, 0.25);
  EXPECT_EQ(weights.l2, 1.0);
  EXPECT_EQ(weights.relative_floor, 0.0);
  EXPECT_EQ(weights.l1, 0.0);
  EXPECT_EQ(weights.logit_laplace, 0.1);
  EXPECT_EQ(weights.perceptual, 0.1);
  EXPECT_EQ(weights.adversarial, 0.1);
  EXPECT_NO_THROW(validate(weights));
}

TEST(LossWeights, VisitsEachFieldOnce) {
  LossWeights weights;
  std::string names;
  visit_fields(weights, [&](const std::string& name, auto&) { names += name + " "; });
  EXPECT_EQ(names,
            "codebook commitment l2 relative_floor l1 logit_laplace perceptual adversarial "
            "adaptive adaptive_max discriminator_start r1_gamma r1_interval ");
}

TEST(LossWeights, RejectsWhatCannotBe) {
  LossWeights negative;
  negative.l2 = -1;
  expect_error(ErrorKind::kUsage, "l2 >= 0, got -1", [&] { validate(negative); });
  LossWeights not_a_number;
  not_a_number.perceptual = NAN;
  expect_error(ErrorKind::kUsage, "perceptual", [&] { validate(not_a_number); });
  LossWeights never;
  never.r1_interval = 0;
  expect_error(ErrorKind::kUsage, "r1_interval >= 1, got 0", [&] { validate(never); });
}

TEST(Losses, RejectOtherShapes) {
  const at::Tensor one = at::zeros({1, 3, 2, 2});
  const at::Tensor two = at::zeros({2, 3, 2, 2});
  const auto rejects = [](const std::string& name, auto&& run) {
    expect_error(ErrorKind::kUsage, name, run);
  };
  rejects("codebook_loss", [&] { codebook_loss(one, two); });
  rejects("commitment_loss", [&] { commitment_loss(one, two); });
  rejects("l2_loss", [&] { l2_loss(one, two); });
  rejects("l1_loss", [&] { l1_loss(one, two); });
  rejects("logit_laplace_reconstruction", [&] { logit_laplace_reconstruction(one); });
  rejects("generator_loss", [&] { generator_loss(one); });
  rejects("discriminator_loss", [&] { discriminator_loss(at::zeros({1}), one); });
  rejects("r1_penalty", [&] { r1_penalty(one, at::zeros({1})); });
  rejects("adaptive_weight", [&] { adaptive_weight(one.sum(), one.sum(), one, 1); });
}

}  // namespace
}  // namespace lexel::vqgan
