#include "vqgan/discriminator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>
#include <string>

#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"
#include "vqgan/losses.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;
using tests::random_uniform;
using tests::relative_difference;

DiscriminatorConfig tiny() {
  return {.image_size = 16, .channel_base = 64, .max_channels = 8, .group = 2};
}

Discriminator tiny_float64() {
  Discriminator discriminator = make_discriminator(tiny(), 1, at::kCPU);
  for (const Parameter& parameter : parameters(discriminator)) {
    *parameter.tensor = parameter.tensor->to(at::kDouble);
  }
  return discriminator;
}

TEST(Discriminator, StyleGan2CountIsTheKnownOne) {
  EXPECT_EQ(parameter_count(stylegan2_discriminator()), 28864129);
}

TEST(Discriminator, FormulaCountsTheTensors) {
  for (const DiscriminatorConfig& config : {tiny(), small_discriminator()}) {
    Discriminator discriminator = make_discriminator(config, 1, at::kCPU);
    EXPECT_EQ(parameter_count(parameters(discriminator)), parameter_count(config));
  }
}

TEST(Discriminator, SmallOneHasTheDocumentedSize) {
  EXPECT_NEAR(static_cast<double>(parameter_count(small_discriminator())), 1.2e6, 0.1e6);
}

TEST(Discriminator, GradientReachesEveryParameter) {
  Discriminator discriminator = make_discriminator(tiny(), 1, at::kCPU);
  require_gradients(parameters(discriminator), true);
  const at::Tensor images = random_uniform(2, {4, 3, 16, 16});
  const at::Tensor result = scores(discriminator, images, at::kFloat);
  EXPECT_EQ(result.sizes(), at::IntArrayRef({4}));
  generator_loss(result).backward();
  for (const Parameter& parameter : parameters(discriminator)) {
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().max().item<float>(), 0) << parameter.name;
  }
}

TEST(Discriminator, GradientOfThePicturesAgreesWithFiniteDifferences) {
  const Discriminator discriminator = tiny_float64();
  const at::Tensor images = random_uniform(3, {2, 3, 16, 16}).to(at::kDouble);
  const auto pixel_score = [&](const at::Tensor& pixels) {
    const at::Tensor patch = images.narrow(2, 0, 15);
    const at::Tensor row = at::cat({pixels, images.narrow(2, 15, 1).narrow(3, 4, 12)}, 3);
    return scores(discriminator, at::cat({patch, row}, 2), at::kDouble).sum();
  };
  const at::Tensor pixels = images.narrow(2, 15, 1).narrow(3, 0, 4).contiguous();  // (2, 3, 1, 4)
  EXPECT_LT(tests::gradient_error(pixel_score, pixels), 1e-6);
}

TEST(Discriminator, R1GradientAgreesWithFiniteDifferences) {
  const at::Tensor images = random_uniform(3, {2, 3, 16, 16}).to(at::kDouble);
  const auto penalty_of = [&](at::Tensor Discriminator::*member) {
    return [&, member](const at::Tensor& weight) {
      Discriminator discriminator = tiny_float64();
      discriminator.*member = weight;
      const at::Tensor leaf = images.detach().clone().requires_grad_();
      return r1_penalty(leaf, scores(discriminator, leaf, at::kDouble));
    };
  };
  const Discriminator discriminator = tiny_float64();
  EXPECT_LT(
      tests::gradient_error(penalty_of(&Discriminator::stem_weight), discriminator.stem_weight),
      1e-5);
  EXPECT_LT(
      tests::gradient_error(penalty_of(&Discriminator::score_weight), discriminator.score_weight),
      1e-5);
}

TEST(Discriminator, R1ReachesEveryWeight) {
  Discriminator discriminator = make_discriminator(tiny(), 1, at::kCPU);
  require_gradients(parameters(discriminator), true);
  const at::Tensor images = random_uniform(2, {4, 3, 16, 16}).requires_grad_();
  r1_penalty(images, scores(discriminator, images, at::kFloat)).backward();
  for (const Parameter& parameter : parameters(discriminator)) {
    if (parameter.shape.size() == 1) continue;  // the score's bias has no second derivative
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().max().item<float>(), 0) << parameter.name;
  }
}

TEST(Discriminator, BlursBeforeItHalves) {
  // The finest checkerboard has no low frequencies: past the blur, only the border is left of it. The
  // skip's blur sees it as flat, so a half-strength checkerboard scores nearly as a grey picture.
  Discriminator discriminator = tiny_float64();
  for (DownBlock& block : discriminator.blocks) block.conv2_weight.zero_();
  at::Tensor grey = random_uniform(1, {1, 3, 16, 16}).to(at::kDouble).zero_() + 0.5;
  at::Tensor board = grey.clone();
  for (int64_t y = 0; y < 16; ++y) {
    for (int64_t x = 0; x < 16; ++x) board.select(2, y).select(2, x).add_((x + y) % 2 ? 0.5 : -0.5);
  }
  // With a linear stem (weights 1, bias large) the leaky ReLU never bends.
  discriminator.stem_bias.fill_(100);
  const at::Tensor flat = scores(discriminator, grey, at::kDouble);
  const at::Tensor wave = scores(discriminator, board, at::kDouble);
  at::Tensor step = grey.clone();
  step.narrow(3, 8, 8).add_(0.5);
  const at::Tensor low = scores(discriminator, step, at::kDouble);
  EXPECT_LT((wave - flat).abs().item<double>(), 0.2 * (low - flat).abs().item<double>());
}

TEST(Discriminator, SpreadOfTheBatchIsSeen) {
  const Discriminator discriminator = tiny_float64();
  const at::Tensor one = random_uniform(5, {1, 3, 16, 16}).to(at::kDouble);
  const at::Tensor other = random_uniform(6, {1, 3, 16, 16}).to(at::kDouble);
  const at::Tensor same = scores(discriminator, at::cat({one, one}), at::kDouble);
  const at::Tensor mixed = scores(discriminator, at::cat({one, other}), at::kDouble);
  EXPECT_GT((same[0] - mixed[0]).abs().item<double>(), 1e-6);
  // Groups take every other picture: 0 and 2, 1 and 3.
  const at::Tensor four = scores(discriminator, at::cat({one, other, one, other}), at::kDouble);
  EXPECT_LT(relative_difference(four[0], same[0]), 1e-12);
}

TEST(Discriminator, Bfloat16IsNearFloat32) {
  const Discriminator discriminator = make_discriminator(tiny(), 1, at::kCPU);
  const at::Tensor images = random_uniform(2, {8, 3, 16, 16});
  const at::Tensor wanted = scores(discriminator, images, at::kFloat);
  const at::Tensor result = scores(discriminator, images, at::kBFloat16);
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_LT((result - wanted).abs().max().item<float>(), 0.05);
}

TEST(Discriminator, FrozenCopyGivesTheSameScoresWithoutGradient) {
  Discriminator discriminator = make_discriminator(tiny(), 1, at::kCPU);
  require_gradients(parameters(discriminator), true);
  const at::Tensor images = random_uniform(2, {2, 3, 16, 16}).requires_grad_();
  const at::Tensor result = scores(frozen(discriminator), images, at::kFloat);
  EXPECT_TRUE(result.equal(scores(discriminator, images, at::kFloat)));
  result.sum().backward();
  EXPECT_TRUE(images.grad().defined());
  EXPECT_FALSE(discriminator.stem_weight.grad().defined());
  EXPECT_TRUE(discriminator.stem_weight.requires_grad());
}

TEST(Discriminator, ALossFalls) {
  Discriminator discriminator = make_discriminator(tiny(), 1, at::kCPU);
  require_gradients(parameters(discriminator), true);
  const at::Tensor real = random_uniform(2, {4, 3, 16, 16});
  const at::Tensor fake = random_uniform(3, {4, 3, 16, 16}) * 0.5;
  double first = 0;
  double last = 0;
  for (int step = 0; step < 60; ++step) {
    const at::Tensor loss = discriminator_loss(scores(discriminator, real, at::kFloat),
                                               scores(discriminator, fake, at::kFloat));
    last = loss.item<double>();
    if (step == 0) first = last;
    loss.backward();
    for (const Parameter& parameter : parameters(discriminator)) {
      at::Tensor& weight = *parameter.tensor;
      weight = (weight - 0.3 * weight.grad()).detach().requires_grad_();
    }
  }
  EXPECT_LT(last, 0.5 * first);
}

TEST(Discriminator, RejectsOtherPictures) {
  const Discriminator discriminator = make_discriminator(tiny(), 1, at::kCPU);
  const auto rejects = [&](const std::string& text, const std::vector<int64_t>& shape) {
    expect_error(ErrorKind::kUsage, text,
                 [&] { scores(discriminator, random_uniform(1, shape), at::kFloat); });
  };
  rejects("(B, 3, 16, 16)", {2, 3, 16, 32});
  rejects("(B, 3, 16, 16)", {2, 1, 16, 16});
  rejects("(B, 3, 16, 16)", {3, 16, 16});
  rejects("a batch that 2 divides, got 3", {3, 3, 16, 16});
}

TEST(Discriminator, RejectsConfigurationsThatCannotBe) {
  const auto rejects = [](const std::string& text, auto&& change) {
    DiscriminatorConfig config = tiny();
    change(config);
    expect_error(ErrorKind::kUsage, text, [&] { make_discriminator(config, 1, at::kCPU); });
  };
  rejects("image_size", [](DiscriminatorConfig& c) { c.image_size = 24; });
  rejects("image_size", [](DiscriminatorConfig& c) { c.image_size = 4; });
  rejects("channel_base", [](DiscriminatorConfig& c) { c.channel_base = 3; });
  rejects("max_channels", [](DiscriminatorConfig& c) { c.max_channels = 0; });
  rejects("group", [](DiscriminatorConfig& c) { c.group = 0; });
}

}  // namespace
}  // namespace lexel::vqgan
