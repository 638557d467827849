// What a loader pays for one picture: decode a JPEG of 1536 x 1024 pixels, cut a square, scale it to 128.
// Numbers: tokenizers/io/README.md.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <benchmark/benchmark.h>
#include <cmath>
#include <vector>

#include "tokenizers/io/image.h"
#include "tokenizers/io/preprocess.h"

namespace {

using lexel::Image;

// Waves and a little noise.
const std::vector<uint8_t>& jpeg() {
  static const std::vector<uint8_t> data = [] {
    at::set_num_threads(1);
    Image image{at::empty({1024, 1536, 3}, at::kByte)};
    uint8_t* level = image.pixels.data_ptr<uint8_t>();
    uint32_t noise = 1;
    for (int i = 0; i < 1024 * 1536 * 3; ++i) {
      noise = noise * 1664525u + 1013904223u;
      const double wave = std::sin(i / 3 % 1536 * 0.02) + std::cos(i / 4608 * 0.03);
      level[i] = static_cast<uint8_t>(120 + 50 * wave + (noise >> 28));
    }
    return lexel::encode_image(image, "jpeg");
  }();
  return data;
}

Image picture() { return lexel::decode_image(jpeg().data(), jpeg().size(), "bench"); }

Image square(const Image& image) {
  const int64_t side = std::min(image.height(), image.width());
  return {image.pixels.narrow(0, 0, side).narrow(1, 0, side).contiguous()};
}

void DecodeJpeg(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(picture().pixels);
  state.SetItemsProcessed(state.iterations());
}

void ResizeEightBits(benchmark::State& state) {
  const Image image = square(picture());
  for (auto _ : state) benchmark::DoNotOptimize(lexel::resize(image, 128, 128, "bicubic").pixels);
  state.SetItemsProcessed(state.iterations());
}

void ResizeFloat(benchmark::State& state) {
  const Image image = square(picture());
  for (auto _ : state)
    benchmark::DoNotOptimize(lexel::resize(lexel::to_tensor(image), 128, 128, "bicubic"));
  state.SetItemsProcessed(state.iterations());
}

void DecodeAndResize(benchmark::State& state) {
  for (auto _ : state)
    benchmark::DoNotOptimize(lexel::resize(square(picture()), 128, 128, "bicubic").pixels);
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(DecodeJpeg);
BENCHMARK(ResizeEightBits);
BENCHMARK(ResizeFloat);
BENCHMARK(DecodeAndResize);

}  // namespace
