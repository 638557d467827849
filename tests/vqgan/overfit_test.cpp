#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/philox.h"
#include "tests/vqgan/tiny_model.h"
#include "vqgan/codebook_care.h"
#include "vqgan/model.h"

namespace lexel::vqgan {
namespace {

/// Pictures with the hard parts of real ones: shading, an edge at any angle, fine texture, three colours.
at::Tensor make_pictures(int64_t count, int64_t size) {
  const auto pictures = at::empty({count, 3, size, size}, at::kFloat);
  for (int64_t k = 0; k < count; ++k) {
    Philox random(3, "pictures", static_cast<uint64_t>(k));
    const double angle_rad = 6.3 * random.uniform(), offset = random.uniform() - 0.5;
    float* pixel = pictures[k].data_ptr<float>();
    for (int channel = 0; channel < 3; ++channel) {
      const double low = random.uniform(), high = random.uniform(), shade = random.uniform() - 0.5;
      for (int64_t y = 0; y < size; ++y) {
        for (int64_t x = 0; x < size; ++x) {
          const double u = static_cast<double>(x) / static_cast<double>(size) - 0.5;
          const double v = static_cast<double>(y) / static_cast<double>(size) - 0.5;
          const bool side = u * std::cos(angle_rad) + v * std::sin(angle_rad) > offset / 2;
          *pixel++ = static_cast<float>((side ? low : high) + shade * u + 0.05 * random.uniform());
        }
      }
    }
  }
  return pictures.clamp_(0, 1);
}

double psnr(const at::Tensor& a, const at::Tensor& b) {
  return -10 * std::log10((a.clamp(0, 1) - b).square().mean().item<double>());
}

/// Trains until `wanted` dB or `steps`, with codes from the latents at first and restarts; the PSNR of
/// encode-decode, through ids alone.
double overfit(Config config, int64_t pictures, int steps, double wanted) {
  at::set_num_threads(
      1);  // products this small gain nothing from more, and lose much on a busy machine
  Model model = make_model(config, 1, at::kCPU);
  const auto images = make_pictures(pictures, config.image_size);
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
      best = std::max(best, psnr(decode(model, encode(model, images), grid, grid), images));
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
