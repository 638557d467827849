#include "kernels/upfirdn.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>
#include <string>
#include <torch/csrc/autograd/autograd.h>
#include <vector>

#include "tests/support/every_path.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

using tests::expect_error;
using tests::on_every_path;
using tests::random_tensor;
using tests::relative_difference;
using Shape = std::vector<int64_t>;

at::Tensor binomial() {  // [1 3 3 1] x [1 3 3 1] / 64
  const at::Tensor row = at::tensor({1.0f, 3.0f, 3.0f, 1.0f}) / 8;
  return row.unsqueeze(1) * row;
}

TEST(Upfirdn2dReference, HandMade) {
  const at::Tensor x = at::tensor({1.0f, 2.0f, 3.0f}).reshape({1, 1, 1, 3});
  const at::Tensor filter = at::tensor({1.0f, 10.0f}).reshape({1, 2});
  // A correlation: 1 + 20, 2 + 30; with a pixel of zeros on the left, 0 + 10 before them.
  EXPECT_TRUE(at::equal(upfirdn2d_reference(x, filter).flatten(), at::tensor({21.0f, 32.0f})));
  EXPECT_TRUE(at::equal(upfirdn2d_reference(x, filter, {.padding = {1, 0, 0, 0}}).flatten(),
                        at::tensor({10.0f, 21.0f, 32.0f})));
  // 1 0 2 0 3 0: sums 1 20 2 30 3; and every other of them.
  const UpfirdnOptions up{.up = 2, .padding = {0, 0, 0, -1}};
  EXPECT_TRUE(at::equal(upfirdn2d_reference(x, filter, up).flatten(),
                        at::tensor({1.0f, 20.0f, 2.0f, 30.0f, 3.0f})));
  EXPECT_TRUE(at::equal(
      upfirdn2d_reference(x, filter, {.up = 2, .down = 2, .padding = up.padding}).flatten(),
      at::tensor({1.0f, 2.0f, 3.0f})));
  // Cropped to the last two.
  EXPECT_TRUE(at::equal(upfirdn2d_reference(x, filter, {.padding = {-1, 0, 0, 0}}).flatten(),
                        at::tensor({32.0f})));
}

struct Case {
  std::string name;
  Shape shape;
  at::Tensor filter;
  UpfirdnOptions options;
};

std::vector<Case> cases() {
  const at::Tensor uneven = random_tensor(9, {3, 5});  // not a product
  at::Tensor holes = random_tensor(8, {4, 4});
  holes[1] = 0.0f;
  return {
      {"blur", {2, 16, 9, 11}, binomial(), {.padding = {2, 2, 2, 2}}},
      {"blur and halve", {2, 32, 12, 12}, binomial(), {.down = 2, .padding = {1, 1, 1, 1}}},
      {"blur and halve, odd", {1, 19, 13, 9}, binomial(), {.down = 2, .padding = {1, 1, 1, 1}}},
      {"double", {1, 8, 6, 5}, binomial() * 4, {.up = 2, .padding = {2, 1, 2, 1}}},
      {"one pixel", {1, 1, 1, 1}, binomial(), {.padding = {2, 1, 1, 2}}},
      {"three channels", {2, 3, 10, 7}, binomial(), {.down = 3, .padding = {1, 2, 0, 3}}},
      {"crop", {1, 5, 12, 13}, binomial(), {.padding = {-2, -1, -3, 2}}},
      {"crop and double", {1, 17, 8, 8}, binomial(), {.up = 2, .padding = {-3, -2, 1, -3}}},
      {"uneven filter", {1, 20, 9, 10}, uneven, {.padding = {2, 2, 1, 1}}},
      {"uneven, all", {2, 4, 7, 6}, uneven, {.up = 3, .down = 2, .padding = {4, 1, -1, 3}}},
      {"uneven, wide", {1, 40, 7, 6}, uneven, {.up = 2, .down = 4, .padding = {4, 1, 1, 3}}},
      {"holes", {1, 6, 7, 8}, holes, {.down = 2}},
      {"zeros", {1, 6, 7, 8}, at::zeros({3, 3}), {}},
      {"identity", {1, 33, 5, 5}, at::ones({1, 1}), {}},
      {"largest filter", {1, 2, 20, 20}, random_tensor(7, {8, 8}), {.up = 4, .down = 3}},
      {"padding beyond", {1, 16, 3, 3}, binomial(), {.padding = {9, 9, 9, 9}}},
      {"no picture", {0, 16, 8, 8}, binomial(), {.padding = {2, 2, 2, 2}}},
  };
}

/// Result, gradient and second derivative: that of |d(y c)/dx|^2, with respect to the constant c.
struct Derivatives {
  at::Tensor result, gradient, second;
};

template <class Function>
Derivatives derivatives(Function&& function, const at::Tensor& x, const Case& c) {
  const at::Tensor leaf = x.detach().clone().requires_grad_();
  const at::Tensor y = function(leaf, c.filter, c.options);
  if (x.numel() == 0) return {y.detach(), x, y.detach()};
  const at::Tensor weights = random_tensor(3, y.sizes().vec()).to(y.options()).requires_grad_();
  const at::Tensor gradient =
      torch::autograd::grad({(y * weights).sum()}, {leaf}, {}, true, /*create_graph=*/true)[0];
  const at::Tensor second = torch::autograd::grad({gradient.square().sum()}, {weights})[0];
  return {y.detach(), gradient.detach(), second};
}

void expect_reference(const Case& c, bool channels_last, at::ScalarType dtype, at::Device device) {
  SCOPED_TRACE(c.name + (channels_last ? ", channels-last" : "") +
               (dtype == at::kBFloat16 ? ", bfloat16" : ""));
  at::Tensor x = random_tensor(1, c.shape).to(device, dtype);
  if (channels_last) x = x.contiguous(at::MemoryFormat::ChannelsLast);
  const Derivatives ours = derivatives(upfirdn2d, x, c);
  const Derivatives wanted = derivatives(upfirdn2d, x.to(at::kDouble), c);
  EXPECT_EQ(ours.result.scalar_type(), dtype);
  EXPECT_TRUE(ours.result.is_contiguous(x.suggest_memory_format()));
  // 64 products in float32 and a scale: below 1e-6. bfloat16 rounds the result by up to 2^-8, the second derivative twice
  // more, and by its operands.
  const double tolerance = dtype == at::kBFloat16 ? 0x1.1p-8 : 1e-6;
  EXPECT_LT(relative_difference(ours.result, wanted.result), tolerance);
  EXPECT_LT(relative_difference(ours.gradient, wanted.gradient), 4 * tolerance);
  EXPECT_LT(relative_difference(ours.second, wanted.second), 8 * tolerance);
}

TEST(Upfirdn2d, IsTheReferenceThroughTwoDerivatives) {
  on_every_path([](at::Device device) {
    for (const Case& c : cases()) {
      for (const bool channels_last : {false, true}) {
        expect_reference(c, channels_last, at::kFloat, device);
        expect_reference(c, channels_last, at::kBFloat16, device);
      }
    }
  });
}

TEST(Upfirdn2d, ThreadsDoNotChangeBits) {
  const at::Tensor input = random_tensor(1, {2, 40, 33, 31});
  on_every_path([&](at::Device device) {
    const at::Tensor x = input.to(device).contiguous(at::MemoryFormat::ChannelsLast);
    const UpfirdnOptions options{.padding = {2, 2, 2, 2}};
    const at::Tensor one = upfirdn2d(x, binomial(), options);
    at::set_num_threads(3);
    EXPECT_TRUE(at::equal(upfirdn2d(x, binomial(), options), one));
    at::set_num_threads(1);
  });
}

TEST(Upfirdn2d, RoundsBfloat16ToNearestEvenAndKeepsNan) {
  const at::Tensor x =
      at::tensor({1.0f, 1.0f + 1.0f / 256, 1.0f + 3.0f / 256, -INFINITY, NAN, 3e38f});
  const at::Tensor wanted = x.to(at::kBFloat16);
  on_every_path([&](at::Device device) {
    // Sums of halves of values that bfloat16 has give ties.
    const at::Tensor pair = at::tensor({1.0f, 1.0078125f, 1.0234375f}).to(at::kBFloat16).to(device);
    const at::Tensor y = upfirdn2d(pair.reshape({1, 1, 1, 3}), at::full({1, 2}, 0.5f));
    EXPECT_TRUE(
        at::equal(y.flatten().cpu(), at::tensor({1.00390625f, 1.015625f}).to(at::kBFloat16)));
    const at::Tensor same =
        upfirdn2d(wanted.to(device).reshape({1, 1, 1, 6}), at::ones({1, 1})).flatten().cpu();
    EXPECT_TRUE(at::equal(same.narrow(0, 0, 4), wanted.narrow(0, 0, 4)));
    EXPECT_TRUE(std::isnan(same[4].item<float>()));
    EXPECT_EQ(same[5].item<float>(), wanted[5].item<float>());
  });
}

TEST(Upfirdn2dArguments, AreChecked) {
  const at::Tensor x = at::zeros({1, 2, 5, 5});
  const auto rejects = [](const char* text, const at::Tensor& input, const at::Tensor& filter,
                          const UpfirdnOptions& options) {
    expect_error(ErrorKind::kUsage, text, [&] { upfirdn2d(input, filter, options); });
  };
  rejects("expected x (B, C, H, W), got [2, 5, 5]", x[0], binomial(), {});
  rejects("expected x of float32, bfloat16 or float64, got Long", x.to(at::kLong), binomial(), {});
  rejects("expected a filter with sides in 1..8, got [4]", x, at::ones({4}), {});
  rejects("expected a filter with sides in 1..8, got [1, 9]", x, at::ones({1, 9}), {});
  rejects("expected a float32 filter on the CPU, got Double", x, binomial().to(at::kDouble), {});
  rejects("expected up in 1..4, got 0", x, binomial(), {.up = 0});
  rejects("expected down in 1..4, got 5", x, binomial(), {.down = 5});
  rejects("expected a result, got none of [1, 2, 5, 5] with a filter of [4, 4]", x, binomial(),
          {.padding = {-1, -1, 0, 0}});
  rejects("undefined", x, {}, {});
}

}  // namespace
}  // namespace lexel::kernels
