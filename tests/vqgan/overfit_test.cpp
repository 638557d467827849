#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <algorithm>
#include <gtest/gtest.h>

#include "tests/vqgan/hard_pictures.h"
#include "tests/vqgan/tiny_model.h"
#include "vqgan/codebook_care.h"
#include "vqgan/model.h"

namespace lexel::vqgan {
namespace {

/// Trains until `wanted` dB or `steps`, with codes from the latents at first and restarts; the PSNR of
/// encode-decode, through ids alone.
double overfit(Config config, int64_t pictures, int steps, double wanted) {
  at::set_num_threads(
      1);  // products this small gain nothing from more, and lose much on a busy machine
  Model model = make_model(config, 1, at::kCPU);
  const auto images = tests::hard_pictures(pictures, config.image_size);
  const int64_t grid = config.image_size / config.patch_size;
  start_codebook_from_latents(model, images, 10, 1);
  tests::Adam adam(parameters(model));
  double best = 0.0;
  for (int step = 0; step < steps && best < wanted; ++step) {
    const Forward f = forward(model, images, at::kFloat);
    const auto commitment = (f.latents - f.codes.detach()).square().mean();
    const auto codebook = (f.latents.detach() - f.codes).square().mean();
    adam.step((f.pictures - images).square().mean() + 0.05 * commitment + 0.2 * codebook,
              step < steps * 3 / 4 ? 3e-3 : 6e-4);
    if (step % 25 == 24)
      best = std::max(best, tests::psnr(decode(model, encode(model, images), grid, grid), images));
  }
  return best;
}

Config overfit_config() {
  Config config = tests::tiny_config();
  for (StackConfig* stack : {&config.encoder, &config.decoder}) {
    stack->width = 64;
    stack->heads = 4;
    stack->head_width = 16;
    stack->hidden = 128;
  }
  config.image_size = 32;
  config.patch_size = 8;
  return config;
}

TEST(OverfitTest, OnePictureReaches40Decibels) {
  Config config = overfit_config();
  config.codebook_size = 16;  // one a token: the limit is the training, not the codebook
  EXPECT_GE(overfit(config, 1, 800, 40.0), 40.0);
}

TEST(OverfitTest, ThirtyTwoPicturesReach32Decibels) {
  Config config = overfit_config();
  config.image_size = 16;
  config.codebook_size = 128;
  EXPECT_GE(overfit(config, 32, 800, 32.0), 32.0);
}

}  // namespace
}  // namespace lexel::vqgan
