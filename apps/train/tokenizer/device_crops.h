#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "apps/train/tokenizer/crops.h"
#include "apps/train/tokenizer/picture_pool.h"

namespace lexel::train {

/// All training pictures as uint8 in a device's memory, and their crops cut there: what a GPU would wait for
/// is a table of boxes. The crops are those of CropSampler, so a run sees the same pictures as one
/// with the loader.
class DeviceCrops {
 public:
  /// Decodes every picture of the pool and copies all their levels to the device.
  ///
  /// image_size   side of the crops, pixels
  /// first_batch  number of the first batch that next() gives
  /// workers      threads that decode, at least 1
  /// throws       Error(kBadData) when no picture can be decoded
  DeviceCrops(PicturePool& pool, const CropSampler& sampler, int64_t batch, int64_t image_size,
              int64_t first_batch, int64_t workers, at::Device device);

  /// (batch, 3, S, S) float32 in [0, 1] on the device: samples n * batch ... of the sampler for batch n.
  at::Tensor next();

  /// The crops' pixels, as CropSampler::cut() makes them (to 2e-6: float32 sums of another order).
  ///
  /// returns  (n, 3, S, S) float32 in [0, 1] on the device
  at::Tensor cut(const std::vector<Crop>& crops) const;

  /// Time that next() has taken on the host, seconds in all: what the device may have waited.
  double waited_s() const { return waited_s_; }

  int64_t bytes() const { return pixels_.numel(); }  // of device memory, for the pictures

 private:
  struct Level {
    int64_t offset = 0, height = 0, width = 0;  // offset in pixels
  };

  const CropSampler& sampler_;
  const int64_t batch_, image_size_;
  int64_t next_batch_;
  at::Tensor pixels_;                       // (pixels of all levels, 3) uint8
  std::vector<std::vector<Level>> levels_;  // of each picture
  double waited_s_ = 0.0;
};

}  // namespace lexel::train
