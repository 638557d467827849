#include "apps/train/tokenizer/resample.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>
#include <numeric>

#include "kernels/philox.h"
#include "tokenizers/io/preprocess.h"

namespace lexel::train {
namespace {

Pixels noise(int64_t height, int64_t width) {
  Pixels pixels{height, width, std::vector<uint8_t>(height * width * 3)};
  Philox random(1, "noise");
  for (uint8_t& value : pixels.rgb) value = uint8_t(random.next_u32() & 255);
  return pixels;
}

/// (3, H, W) float32 in [0, 1].
at::Tensor tensor_of(const Pixels& pixels) {
  const at::Tensor image = at::empty({pixels.height, pixels.width, 3}, at::kByte);
  std::copy(pixels.rgb.begin(), pixels.rgb.end(), image.mutable_data_ptr<uint8_t>());
  return image.permute({2, 0, 1}).to(at::kFloat).div(255.0).contiguous();
}

TEST(ResizeWeights, SumToOneAndStayInside) {
  for (const auto& [begin, length, inputs, outputs] :
       {std::tuple{0.0, 100.0, 100, 32}, {10.5, 20.25, 40, 64}, {0.0, 3.0, 3, 8}}) {
    const ResizeWeights w = resize_weights(begin, length, inputs, outputs, false);
    for (int64_t i = 0; i < outputs; ++i) {
      EXPECT_GE(w.first[i], 0);
      EXPECT_LE(w.first[i] + w.taps, inputs);
      const float* row = w.weights.data() + i * w.taps;
      EXPECT_NEAR(std::accumulate(row, row + w.taps, 0.0), 1.0, 1e-5);
    }
  }
}

TEST(Resample, WholePictureIsThatOfTheLibrarysResize) {
  const Pixels pixels = noise(90, 70);
  const at::Tensor out = at::empty({3, 32, 24}, at::kFloat);
  resample(pixels, {0, 0, 70, 90}, false, 32, 24, out.mutable_data_ptr<float>());
  const at::Tensor expected = resize(tensor_of(pixels), 32, 24, "bicubic").clamp(0, 1);
  EXPECT_LT(out.sub(expected).abs().max().item<float>(), 2e-3f);
}

TEST(Resample, SameSizeKeepsThePixels) {
  const Pixels pixels = noise(16, 16);
  const at::Tensor out = at::empty({3, 8, 8}, at::kFloat);
  resample(pixels, {4, 2, 8, 8}, false, 8, 8, out.mutable_data_ptr<float>());
  const at::Tensor expected = tensor_of(pixels).slice(1, 2, 10).slice(2, 4, 12);
  EXPECT_LT(out.sub(expected).abs().max().item<float>(), 1e-5f);
}

TEST(Resample, MirroredIsTheOtherWayRound) {
  const Pixels pixels = noise(20, 20);
  const at::Tensor plain = at::empty({3, 8, 8}, at::kFloat), mirrored = plain.clone();
  resample(pixels, {1, 2, 16, 16}, false, 8, 8, plain.mutable_data_ptr<float>());
  resample(pixels, {1, 2, 16, 16}, true, 8, 8, mirrored.mutable_data_ptr<float>());
  EXPECT_TRUE(mirrored.flip({2}).equal(plain));
}

TEST(Scaled, IsThatOfTheLibrarysResizeWithinRounding) {
  const Pixels pixels = noise(50, 60);
  const at::Tensor expected = resize(tensor_of(pixels), 20, 24, "bicubic").clamp(0, 1);
  EXPECT_LT(tensor_of(scaled(pixels, 20, 24)).sub(expected).abs().max().item<float>(), 3e-3f);
}

TEST(Halved, IsTheMeanOfFourPixels) {
  Pixels pixels{2, 3, {0, 0, 0, 10, 20, 30, 99, 99, 99, 20, 40, 60, 30, 20, 10, 99, 99, 99}};
  const Pixels half = halved(pixels);
  EXPECT_EQ(half.height, 1);
  EXPECT_EQ(half.width, 1);
  EXPECT_EQ(half.rgb, (std::vector<uint8_t>{15, 20, 25}));
}

}  // namespace
}  // namespace lexel::train
