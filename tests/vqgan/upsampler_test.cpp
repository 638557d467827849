#include "vqgan/upsampler.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"
#include "vqgan/losses.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;
using tests::random_uniform;

UpsamplerConfig tiny() { return {.scale = 2, .width = 6, .blocks = 2, .expansion = 2}; }

// With a tail that is not zero, as after the first step of training.
Upsampler awake(const UpsamplerConfig& config) {
  Upsampler upsampler = make_upsampler(config, 1, at::kCPU);
  upsampler.tail.weight.copy_(random_uniform(3, upsampler.tail.weight.sizes().vec()) * 0.1 - 0.05);
  return upsampler;
}

TEST(Upsampler, PartisHasTheDocumentedSize) {
  // The paper says about 15 million for 256 to 512 pixels.
  EXPECT_EQ(parameter_count(parti_upsampler()), 14180876);
  EXPECT_EQ(parameter_count(small_upsampler()), 169644);
}

TEST(Upsampler, FormulaCountsTheTensors) {
  for (const UpsamplerConfig& config :
       {tiny(), small_upsampler(), UpsamplerConfig{.scale = 3, .width = 4}}) {
    Upsampler upsampler = make_upsampler(config, 1, at::kCPU);
    EXPECT_EQ(parameter_count(parameters(upsampler)), parameter_count(config));
  }
}

TEST(Upsampler, StartsAsBicubicEnlargement) {
  const Upsampler upsampler = make_upsampler(tiny(), 1, at::kCPU);
  const at::Tensor images = random_uniform(2, {2, 3, 9, 12});
  const at::Tensor large = upscale(upsampler, images, at::kFloat);
  EXPECT_EQ(large.sizes(), at::IntArrayRef({2, 3, 18, 24}));
  EXPECT_TRUE(at::equal(large, bicubic_enlarged(images, 2)));
}

TEST(Upsampler, ScaleThreeAndBfloat16) {
  UpsamplerConfig config = tiny();
  config.scale = 3;
  const Upsampler upsampler = awake(config);
  const at::Tensor images = random_uniform(2, {1, 3, 8, 5});
  const at::Tensor exact = upscale(upsampler, images, at::kFloat);
  const at::Tensor rough = upscale(upsampler, images, at::kBFloat16);
  EXPECT_EQ(rough.sizes(), at::IntArrayRef({1, 3, 24, 15}));
  EXPECT_EQ(rough.scalar_type(), at::kFloat);
  EXPECT_LT((exact - rough).abs().max().item<float>(), 0.02F);
  EXPECT_FALSE(at::equal(exact, bicubic_enlarged(images, 3)));
}

TEST(Upsampler, GradientReachesEveryParameter) {
  Upsampler upsampler = awake(tiny());
  require_gradients(parameters(upsampler), true);
  l2_loss(upscale(upsampler, random_uniform(2, {2, 3, 8, 8}), at::kFloat),
          random_uniform(4, {2, 3, 16, 16}))
      .backward();
  for (const Parameter& parameter : parameters(upsampler)) {
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().max().item<float>(), 0) << parameter.name;
  }
}

TEST(Upsampler, LearnsOnePictureThatBicubicCannotDraw) {
  Upsampler upsampler = make_upsampler(tiny(), 1, at::kCPU);
  const at::Tensor large =
      at::upsample_bilinear2d(random_uniform(5, {1, 3, 8, 8}), {16, 16}, false).round();
  const at::Tensor small = at::upsample_bilinear2d(large, {8, 8}, false);
  ParameterList list = parameters(upsampler);
  require_gradients(list, true);
  std::vector<at::Tensor> first, second;
  for (const Parameter& parameter : list) {
    first.push_back(parameter.tensor->detach().clone().zero_());
    second.push_back(parameter.tensor->detach().clone().zero_());
  }
  double start = 0.0, end = 0.0;
  for (int step = 1; step <= 150; ++step) {
    const at::Tensor loss = l2_loss(upscale(upsampler, small, at::kFloat), large);
    loss.backward();
    end = loss.item<double>();
    if (step == 1) start = end;
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < list.size(); ++i) {  // Adam, by hand
      at::Tensor& weight = *list[i].tensor;
      const at::Tensor& gradient = weight.grad();
      first[i].mul_(0.9).add_(gradient, 0.1);
      second[i].mul_(0.99).addcmul_(gradient, gradient, 0.01);
      const double bias1 = 1 - std::pow(0.9, step), bias2 = 1 - std::pow(0.99, step);
      weight.sub_(first[i] / bias1 / ((second[i] / bias2).sqrt() + 1e-8) * 5e-3);
      weight.mutable_grad().zero_();
    }
  }
  EXPECT_LT(end, 0.25 * start);
}

TEST(Upsampler, RefusesWhatCannotBe) {
  expect_error(ErrorKind::kUsage, "scale in 2..8, got 1", [] { validate({.scale = 1}); });
  expect_error(ErrorKind::kUsage, "width", [] { validate({.width = 0}); });
  expect_error(ErrorKind::kUsage, "blocks", [] { validate({.blocks = 257}); });
  expect_error(ErrorKind::kUsage, "expansion", [] { validate({.expansion = 17}); });
  const Upsampler upsampler = make_upsampler(tiny(), 1, at::kCPU);
  expect_error(ErrorKind::kUsage, "(B, 3, H, W)", [&] {
    upscale(upsampler, random_uniform(1, {1, 4, 8, 8}), at::kFloat);
  });
}

}  // namespace
}  // namespace lexel::vqgan
