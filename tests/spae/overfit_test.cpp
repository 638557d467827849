#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <algorithm>
#include <gtest/gtest.h>

#include "spae/model.h"
#include "tests/spae/tiny_spae.h"
#include "tests/vqgan/hard_pictures.h"
#include "tests/vqgan/tiny_model.h"

namespace lexel::spae {
namespace {

/// Trains until `wanted` dB or `steps`; the PSNR of encode-decode, through ids alone.
double overfit(const Config& config, int64_t pictures, int steps, double rate, double wanted) {
  at::set_num_threads(1);
  Model model = tests::tiny_spae_model(config);
  const auto images = tests::hard_pictures(pictures, config.image_size);
  tests::Adam adam(parameters(model));
  double best = 0.0;
  for (int step = 0; step < steps && best < wanted; ++step) {
    const Forward f = forward(model, images, {});
    const auto commitment = (f.latents - f.choices.back().result).square().mean();
    adam.step((f.pictures - images).square().mean() + 0.01 * commitment,
              step < steps * 3 / 4 ? rate : rate / 5);
    if (step % 25 == 24) {
      best = std::max(best, tests::psnr(decode(model, encode(model, images)), images));
    }
  }
  return best;
}

Config wider(Config config) {
  for (vqgan::StackConfig* stack : {&config.vit.encoder, &config.vit.decoder}) {
    stack->width = 64;
    stack->heads = 4;
    stack->head_width = 16;
    stack->hidden = 128;
  }
  config.cnn.width = 16;
  config.num_words = 200;
  return config;
}

TEST(OverfitTest, OnePictureByTheTransformerBody) {
  EXPECT_GE(overfit(wider(tests::tiny_spae("vit")), 1, 600, 3e-3, 36.0), 36.0);
}

TEST(OverfitTest, OnePictureByTheConvolutionalBody) {
  EXPECT_GE(overfit(wider(tests::tiny_spae("cnn")), 1, 600, 3e-3, 32.0), 32.0);
}

TEST(OverfitTest, ThirtyTwoPicturesByTheTransformerBody) {
  EXPECT_GE(overfit(wider(tests::tiny_spae("vit")), 32, 600, 3e-3, 24.0), 24.0);
}

}  // namespace
}  // namespace lexel::spae
