#include "apps/train/tokenizer/device_crops.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/where.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "kernels/check.h"

namespace lexel::train {
namespace {

// Columns of the table that describes a crop to the device, float64.
enum Column : int64_t { kOffset, kHeight, kWidth, kLeft, kTop, kSide, kMirrored, kColumns };

/// Keys' cubic with a = -0.5, as resample.cpp has it.
at::Tensor cubic(const at::Tensor& distance) {
  const at::Tensor x = distance.abs();
  const at::Tensor inner = ((x * 1.5 - 2.5) * x * x) + 1.0;
  const at::Tensor outer = ((x * -0.5 + 2.5) * x - 4.0) * x + 2.0;
  return at::where(x < 1.0, inner, at::where(x < 2.0, outer, 0.0));
}

/// One axis of every crop: the window of source pixels it reads and its antialiased resize as a matrix.
struct Axis {
  at::Tensor pixels;   // (B, R) int64, clamped into the picture
  at::Tensor weights;  // (B, S, R) float32; 0 outside of the picture
};

/// begin, length, limit  (B, 1) float64: the box and the picture along this axis
/// outputs               S
/// window                R, enough for every box and its filter
Axis make_axis(const at::Tensor& begin, const at::Tensor& length, const at::Tensor& limit,
               int64_t outputs, int64_t window) {
  const auto options = begin.options();
  const at::Tensor scale = length / double(outputs);
  const at::Tensor filter = scale.clamp_min(1.0);
  const at::Tensor first = (begin + 0.5 * scale - 2.0 * filter).floor();
  const at::Tensor source = first + at::arange(window, options);                   // (B, R)
  const at::Tensor centre = begin + (at::arange(outputs, options) + 0.5) * scale;  // (B, S)
  const at::Tensor distance =
      (source.unsqueeze(1) + 0.5 - centre.unsqueeze(2)) / filter.unsqueeze(2);  // (B, S, R)
  const at::Tensor inside = (source >= 0.0).logical_and(source < limit);        // (B, R)
  const at::Tensor weights = cubic(distance) * inside.unsqueeze(1);             // (B, S, R)
  return {at::minimum(source.clamp_min(0.0), limit - 1.0).to(at::kLong),
          (weights / weights.sum(2, /*keepdim=*/true)).to(at::kFloat)};
}

/// Decodes all pictures, several at a time.
void decode_all(PicturePool& pool, int64_t workers) {
  const int64_t count = int64_t(pool.pictures.size());
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) pool.levels(i);
  };
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < workers; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

DeviceCrops::DeviceCrops(PicturePool& pool, const CropSampler& sampler, int64_t batch,
                         int64_t image_size, int64_t first_batch, int64_t workers,
                         at::Device device)
    : sampler_(sampler), batch_(batch), image_size_(image_size), next_batch_(first_batch) {
  decode_all(pool, workers);
  int64_t total = 0;  // pixels
  for (int64_t i = 0; i < int64_t(pool.pictures.size()); ++i) {
    std::vector<Level>& levels = levels_.emplace_back();
    for (const Pixels& level : pool.levels(i)) {
      levels.push_back({total, level.height, level.width});
      total += level.height * level.width;
    }
  }
  check(total > 0, ErrorKind::kBadData, "no picture can be decoded");
  pixels_ = at::empty({total, 3}, at::TensorOptions(device).dtype(at::kByte));
  for (int64_t i = 0; i < int64_t(levels_.size()); ++i) {
    for (size_t k = 0; k < levels_[i].size(); ++k) {
      const Level& level = levels_[i][k];
      const int64_t count = level.height * level.width;
      const at::Tensor staged = at::empty({count, 3}, at::kByte);
      std::copy_n(pool.levels(i)[k].rgb.data(), count * 3, staged.mutable_data_ptr<uint8_t>());
      pixels_.narrow(0, level.offset, count).copy_(staged);
    }
  }
}

at::Tensor DeviceCrops::next() {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<Crop> crops(batch_);
  for (int64_t i = 0; i < batch_; ++i) crops[i] = sampler_.sample(next_batch_ * batch_ + i);
  ++next_batch_;
  at::Tensor images = cut(crops);
  waited_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return images;
}

at::Tensor DeviceCrops::cut(const std::vector<Crop>& crops) const {
  const at::NoGradGuard no_grad;
  const int64_t count = int64_t(crops.size());
  const at::Tensor staged = at::empty({count, kColumns}, at::kDouble);
  double* row = staged.mutable_data_ptr<double>();
  double largest = 0.0;  // side of a box, pixels
  for (const Crop& crop : crops) {
    const Level& level = levels_[crop.picture][crop.level];
    row[kOffset] = double(level.offset);
    row[kHeight] = double(level.height);
    row[kWidth] = double(level.width);
    row[kLeft] = crop.box.left;
    row[kTop] = crop.box.top;
    row[kSide] = crop.box.width;
    row[kMirrored] = crop.mirrored ? 1.0 : 0.0;
    largest = std::max(largest, crop.box.width);
    row += kColumns;
  }
  const at::Tensor table = staged.to(pixels_.device(), /*non_blocking=*/true);
  const auto column = [&](Column k) { return table.narrow(1, k, 1); };  // (B, 1)

  const int64_t size = image_size_;
  const double filter = std::max(1.0, largest / double(size));
  const int64_t window = int64_t(std::ceil(largest + 4.0 * filter)) + 2;
  const Axis x = make_axis(column(kLeft), column(kSide), column(kWidth), size, window);
  const Axis y = make_axis(column(kTop), column(kSide), column(kHeight), size, window);

  const at::Tensor rows = y.pixels * column(kWidth).to(at::kLong) + column(kOffset).to(at::kLong);
  const at::Tensor places = rows.unsqueeze(2) + x.pixels.unsqueeze(1);  // (B, R, R)
  const at::Tensor source = pixels_
                                .index_select(0, places.flatten())  // (B, R, R, 3)
                                .view({count, window, window, 3})
                                .to(at::kFloat);
  const at::Tensor lines = y.weights
                               .matmul(source.flatten(2))  // (B, S, R, 3)
                               .view({count, size, window, 3})
                               .permute({0, 3, 1, 2});  // (B, 3, S, R)
  const at::Tensor squares = lines.matmul(x.weights.transpose(1, 2).unsqueeze(1));
  const at::Tensor flipped = at::where(column(kMirrored).view({count, 1, 1, 1}) > 0.5,
                                       squares.flip({3}), squares);  // (B, 3, S, S)
  return flipped.mul(1.0 / 255.0).clamp(0.0, 1.0);
}

}  // namespace lexel::train
