#include "vqgan/encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"
#include "tests/vqgan/tiny_model.h"
#include "vqgan/patches.h"

namespace lexel::vqgan {
namespace {

TEST(EncoderTest, AFreshLinearPathAloneGivesTheLatents) {
  const Model model = make_model(tests::tiny_config_with_options(), 1, at::kCPU);
  const auto images = tests::random_uniform(2, {2, 3, 16, 16});
  const auto latents = encode_latents(model.encoder, model.config, images, at::kBFloat16);
  const auto linear = at::matmul(to_patches(images - 0.5, 4), model.encoder.linear_path.weight.t());
  const auto expected = at::cat(at::TensorList{linear, at::ones({2, 16, 1})}, -1);
  EXPECT_TRUE(at::allclose(latents, expected, 1e-5, 1e-6));
}

TEST(EncoderTest, PixelCenterMovesTheInput) {
  Config config = tests::tiny_config();
  const auto images = tests::random_uniform(2, {1, 3, 16, 16});
  Model model = make_model(config, 1, at::kCPU);
  const auto centred = encode_latents(model.encoder, model.config, images, at::kFloat);
  model.config.pixel_center = 0.0;
  const auto raw = encode_latents(model.encoder, model.config, images - 0.5, at::kFloat);
  EXPECT_TRUE(at::allclose(centred, raw, 1e-5, 1e-6));
}

TEST(EncoderTest, TheStemLooksAcrossPatchBorders) {
  Config config = tests::tiny_config();
  config.encoder.depth = 0;  // no attention: only the stem can mix patches
  const auto change_elsewhere = [&] {
    const Model model = make_model(config, 3, at::kCPU);
    auto images = tests::random_uniform(2, {1, 3, 16, 16});
    const auto before = encode_latents(model.encoder, config, images, at::kFloat);
    images.narrow(3, 4, 12).fill_(0.0);  // all but the first column of patches
    const auto after = encode_latents(model.encoder, config, images, at::kFloat);
    return (after - before).abs()[0][0].max().item<float>();
  };
  EXPECT_EQ(change_elsewhere(), 0.0F);
  config.stem_width = 4;
  EXPECT_GT(change_elsewhere(), 0.0F);
}

}  // namespace
}  // namespace lexel::vqgan
