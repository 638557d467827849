#include "kernels/logit_laplace.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logit.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <vector>

#include "tests/support/every_path.h"
#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::on_every_path;
using tests::random_tensor;
using tests::random_uniform;
using tests::relative_difference;
using Shape = std::vector<int64_t>;

TEST(LogitLaplaceReference, HandMade) {
  // Grey: x = 0.5, x' = 0.5, logit 0. mu = 2, ln b = ln 4: |0 - 2| / 4 + ln 4 + ln(2 * 0.25).
  const at::Tensor images = at::full({1, 3, 1, 1}, 0.5, at::kDouble);
  const at::Tensor output = at::cat({at::full({1, 3, 1, 1}, 2.0, at::kDouble),
                                     at::full({1, 3, 1, 1}, std::log(4.0), at::kDouble)},
                                    1);
  EXPECT_NEAR(logit_laplace_loss_reference(output, images).item<double>(), 0.5 + std::log(2.0),
              1e-12);
}

TEST(LogitLaplaceReference, IsTheLogarithmOfADensity) {
  // Midpoint rule over x in [0, 1], dx' = 0.8 dx. The mass outside, x' < 0.1 and x' > 0.9, is known.
  constexpr int kSteps = 1000;
  const double mu = 0.3;
  const double b = 0.2;
  const at::Tensor maps = at::cat(
      {at::full({1, 3, 1, 1}, mu, at::kDouble), at::full({1, 3, 1, 1}, std::log(b), at::kDouble)},
      1);
  double integral = 0;
  for (int i = 0; i < kSteps; ++i) {
    const at::Tensor grey = at::full({1, 3, 1, 1}, (i + 0.5) / kSteps, at::kDouble);
    integral += std::exp(-logit_laplace_loss_reference(maps, grey).item<double>()) * 0.8 / kSteps;
  }
  const double limit = std::log(9.0);  // logit of 0.9
  const double outside = (std::exp(-(limit - mu) / b) + std::exp(-(limit + mu) / b)) / 2;
  EXPECT_NEAR(integral, 1 - outside, 3e-5);
}

TEST(LogitLaplaceReference, GradientAgreesWithFiniteDifferences) {
  const at::Tensor images = random_uniform(5, {2, 3, 3, 3}).to(at::kDouble);
  const at::Tensor output = random_tensor(6, {2, 6, 3, 3}).to(at::kDouble);
  EXPECT_LT(
      tests::gradient_error(
          [&](const at::Tensor& v) { return logit_laplace_loss_reference(v, images); }, output),
      1e-7);
}

struct LossAndGradient {
  double loss;
  at::Tensor gradient;
};

template <class Loss>
LossAndGradient run(Loss&& function, const at::Tensor& output, const at::Tensor& images,
                    at::Device device = at::kCPU) {
  const at::Tensor leaf = output.detach().clone().to(device).requires_grad_();
  const at::Tensor loss = function(leaf, images.to(device));
  (loss * 3).backward();
  return {loss.template item<double>(), leaf.grad()};
}

class LogitLaplace : public testing::TestWithParam<Shape> {};

TEST_P(LogitLaplace, IsTheReference) {
  Shape maps = GetParam();
  maps[1] = 6;
  // A fifth outside [0, 1]; ln b from about -6 to 6.
  const at::Tensor images = random_uniform(1, GetParam()) * 1.25 - 0.125;
  const at::Tensor output = random_tensor(2, maps) * 1.5;
  const LossAndGradient wanted = run(logit_laplace_loss_reference, output, images);
  on_every_path([&](at::Device device) {
    const LossAndGradient ours = run(logit_laplace_loss, output, images, device);
    // The logit, |x| <= 2.2, errs by 2 x 4 ulp of 2.3: 1e-6; 1 / b by 1 ulp. The mean's scale is that of |..| / b, about 2.
    EXPECT_NEAR(ours.loss, wanted.loss, 4e-6);
    EXPECT_LT(relative_difference(ours.gradient, wanted.gradient), 4e-6);
    EXPECT_EQ(logit_laplace_loss(output.to(device), images.to(device)).item<double>(),
              ours.loss);  // without gradient
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, LogitLaplace,
                         testing::Values(Shape{1, 3, 1, 1}, Shape{2, 3, 5, 7}, Shape{1, 3, 40, 41},
                                         Shape{3, 3, 64, 64}),
                         [](const auto& shape) { return "case" + std::to_string(shape.index); });

TEST(LogitLaplaceKernel, ThreadsDoNotChangeBits) {
  const at::Tensor images = random_uniform(1, {3, 3, 50, 50});
  const at::Tensor output = random_tensor(2, {3, 6, 50, 50});
  on_every_path([&](at::Device device) {
    const LossAndGradient one = run(logit_laplace_loss, output, images, device);
    at::set_num_threads(3);
    const LossAndGradient three = run(logit_laplace_loss, output, images, device);
    at::set_num_threads(1);
    EXPECT_EQ(one.loss, three.loss);
    EXPECT_TRUE(at::equal(one.gradient, three.gradient));
  });
}

TEST(LogitLaplaceKernel, NoSlopeWhereThePictureIsMet) {
  const at::Tensor images = at::full({1, 3, 2, 2}, 0.5);  // logit 0
  on_every_path([&](at::Device device) {
    const LossAndGradient ours = run(logit_laplace_loss, at::zeros({1, 6, 2, 2}), images, device);
    // ln 0.5 twice: the logit is 0 exactly.
    EXPECT_EQ(ours.gradient.narrow(1, 0, 3).abs().max().item<double>(), 0.0);
    EXPECT_NEAR(ours.loss, std::log(0.5), 1e-6);
  });
}

TEST(LogitLaplaceKernel, ANanAnywhereIsSeen) {
  on_every_path([](at::Device device) {
    for (const int64_t channel : {0, 3, 6}) {
      const at::Tensor images = random_uniform(1, {1, 3, 5, 5});
      const at::Tensor output = random_tensor(2, {1, 6, 5, 5});
      (channel == 6 ? images[0][1][2][3] : output[0][channel][2][3]).fill_(NAN);
      const at::Tensor loss = logit_laplace_loss(output.to(device), images.to(device));
      EXPECT_TRUE(std::isnan(loss.item<double>())) << channel;
    }
  });
}

TEST(LogitLaplaceArguments, AreChecked) {
  const at::Tensor maps = at::zeros({2, 6, 4, 4}), images = at::zeros({2, 3, 4, 4});
  const auto rejects = [](const char* text, const at::Tensor& output, const at::Tensor& x) {
    expect_error(ErrorKind::kUsage, text, [&] { logit_laplace_loss(output, x); });
  };
  rejects("expected (B, 6, H, W) maps, got [2, 3, 4, 4]", images, images);
  rejects("expected pictures of the maps' size, got [1, 3, 4, 4]", maps, at::zeros({1, 3, 4, 4}));
  rejects("expected pictures, got [0, 3, 4, 4]", at::zeros({0, 6, 4, 4}), at::zeros({0, 3, 4, 4}));
  rejects("expected float32, got Double", maps.to(at::kDouble), images);
  rejects("expected contiguous", maps.transpose(2, 3), images);
  rejects("undefined", maps, {});
  const at::Tensor leaf = maps.clone().requires_grad_();
  expect_error(ErrorKind::kUsage, "it has no second derivative", [&] {
    torch::autograd::grad({logit_laplace_loss(leaf, images)}, {leaf}, {}, true,
                          /*create_graph=*/true);
  });
}

}  // namespace
}  // namespace lexel::kernels
