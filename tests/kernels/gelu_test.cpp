#include "kernels/gelu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"
#include "tests/support/kernel_paths.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::on_every_target;
using tests::random_tensor;
using tests::relative_difference;

TEST(GeluReference, HandMadeAndLibTorchs) {
  // 0.5 * 1 * (1 + tanh(0.7978845608 * 1.044715)) = 0.841192; gelu(-1) = gelu(1) - 1.
  const at::Tensor y = gelu_reference(at::tensor({0.0, 1.0, -1.0}, at::kDouble));
  EXPECT_NEAR(y[0].item<double>(), 0.0, 1e-12);
  EXPECT_NEAR(y[1].item<double>(), 0.841192, 1e-6);
  EXPECT_NEAR(y[2].item<double>(), -0.158808, 1e-6);
  const at::Tensor x = at::linspace(-8, 8, 1001, at::kDouble);
  EXPECT_LT(relative_difference(gelu_reference(x), at::gelu(x, "tanh")), 1e-14);
  EXPECT_LT(tests::gradient_error([](const at::Tensor& t) { return gelu_reference(t).sum(); },
                                  at::linspace(-4, 4, 33, at::kDouble)),
            1e-8);
}

/// gelu and its gradient for `grad`.
std::pair<at::Tensor, at::Tensor> run(const at::Tensor& x, const at::Tensor& grad,
                                      at::Tensor (*function)(const at::Tensor&)) {
  const at::Tensor leaf = x.detach().clone().requires_grad_();
  const at::Tensor y = function(leaf);
  return {y.detach(), torch::autograd::grad({y}, {leaf}, {grad})[0]};
}

TEST(Gelu, ValuesAndGradientsAreTheReferences) {
  on_every_target([] {
    for (const int64_t count : {0, 1, 7, 64, 1000, 100003}) {
      const at::Tensor x = random_tensor(1, {count}) * 3.0, grad = random_tensor(2, {count});
      const auto [y, slope] = run(x, grad, kernels::gelu);
      const auto [wanted, wanted_slope] =
          run(x.to(at::kDouble), grad.to(at::kDouble), gelu_reference);
      EXPECT_LT((y - wanted).abs().sum().item<double>(), 1e-6 * static_cast<double>(count + 1));
      EXPECT_LT(relative_difference(y, wanted), 1e-6) << count;
      EXPECT_LT(relative_difference(slope, wanted_slope), 2e-6) << count;
    }
  });
}

TEST(Gelu, BFloat16IsRoundedOnce) {
  on_every_target([] {
    const at::Tensor x = (random_tensor(1, {4099}) * 3.0).to(at::kBFloat16);
    const at::Tensor grad = random_tensor(2, {4099}).to(at::kBFloat16);
    const auto [y, slope] = run(x, grad, kernels::gelu);
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    const auto [wanted, wanted_slope] =
        run(x.to(at::kDouble), grad.to(at::kDouble), gelu_reference);
    // Half a unit in the last of 8 bits, 2^-8 at most, and a little for near ties.
    for (const auto& [found, exact] : {std::pair(y, wanted), std::pair(slope, wanted_slope)}) {
      const at::Tensor off = (found.to(at::kDouble) - exact).abs() / exact.abs().clamp_min(1e-30);
      EXPECT_LT(off.max().item<double>(), 1.01 / 256);
    }
    EXPECT_GT(y.eq(wanted.to(at::kBFloat16)).to(at::kFloat).mean().item<double>(), 0.999);
  });
}

TEST(Gelu, ExtremesDoNotOverflowAndNanStays) {
  on_every_target([] {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = at::tensor({1e30F, -1e30F, 200.0F, -200.0F, NAN, INFINITY}).to(type);
      const auto [y, slope] = run(x, at::ones({6}, type), kernels::gelu);
      const auto at = [](const at::Tensor& t, int64_t i) { return t[i].item<float>(); };
      EXPECT_EQ(at(y, 0), at(x, 0));
      EXPECT_EQ(at(y, 1), 0.0F);
      EXPECT_EQ(at(y, 2), 200.0F);
      EXPECT_EQ(at(y, 3), 0.0F);
      EXPECT_TRUE(std::isnan(at(y, 4)));
      EXPECT_EQ(at(y, 5), INFINITY);
      EXPECT_EQ(at(slope, 0), 1.0F);
      EXPECT_EQ(at(slope, 1), 0.0F);
      EXPECT_EQ(at(slope, 2), 1.0F);
      EXPECT_EQ(at(slope, 3), 0.0F);
      EXPECT_TRUE(std::isnan(at(slope, 4)));
    }
  });
}

TEST(Gelu, ThreadsAndLayoutsDoNotMatter) {
  const at::Tensor x = random_tensor(1, {300, 1001});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = kernels::gelu(x);
  at::set_num_threads(3);
  EXPECT_TRUE(kernels::gelu(x).equal(one));
  at::set_num_threads(threads);
  EXPECT_LT(relative_difference(kernels::gelu(x.t()), one.t()), 1e-6);  // LibTorch's
}

TEST(Gelu, WrongArgumentsAreNamed) {
  expect_error(ErrorKind::kUsage, "gelu: expected floating point, got Long",
               [] { kernels::gelu(at::zeros({3}, at::kLong)); });
  expect_error(ErrorKind::kUsage, "gelu: expected floating point, got an undefined tensor",
               [] { kernels::gelu(at::Tensor()); });
  const at::Tensor x = at::ones({3}).requires_grad_();
  expect_error(ErrorKind::kUsage, "no second derivative", [&] {
    const at::Tensor y = kernels::gelu(x).sum();
    torch::autograd::grad({y}, {x}, {at::ones({})}, true, /*create_graph=*/true);
  });
}

}  // namespace
}  // namespace lexel::kernels
