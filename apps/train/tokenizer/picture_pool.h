#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "apps/train/tokenizer/resample.h"

namespace lexel::train {

/// A training picture in memory: the encoded file until it is first used, then its decoded pixels at full
/// size, half, quarter, ... down to the model's size, so that cutting a crop of any scale reads few pixels.
struct PooledPicture {
  std::string name;
  int64_t set = 0;               // index into PicturePool::sets
  std::vector<uint8_t> encoded;  // emptied by the first use
  std::vector<Pixels> levels;    // empty before it, and for a picture that turned out broken
  std::string error;             // why it is broken
  std::once_flag once;
};

/// Pictures that came together: one tar, one folder, or what the key "set" of their json says.
struct PictureSet {
  std::string name;
  int64_t pictures = 0;
};

/// The training pictures of a run: compressed until used, then uint8 within the memory that was allowed.
struct PicturePool {
  std::deque<PooledPicture> pictures;  // in the order of the source; a deque, once_flag cannot move
  std::vector<PictureSet> sets;
  int64_t max_side = 0;              // longest side of a cached picture, pixels
  int64_t model_size = 0;            // levels end before they are smaller than this
  std::vector<std::string> skipped;  // "name: reason"
  std::string fingerprint;           // hash over names and encoded bytes, hex

  /// The decoded levels, made by the first call; safe from any thread. Empty for a broken picture.
  const std::vector<Pixels>& levels(int64_t index);
};

/// A set of pictures that is never trained on, scaled to the model's size.
struct HeldOutSet {
  std::string name;
  int64_t pictures = 0;  // all that are held out; `images` may hold fewer
  at::Tensor images;     // (n, 3, S, S) uint8
};

struct TrainingData {
  PicturePool pool;
  std::vector<HeldOutSet> held_out;
};

struct DataOptions {
  std::vector<std::string> inputs;  // files, folders, tars, lists
  int64_t model_size = 128;         // pixels
  int64_t min_side = 64;            // pictures with a shorter side are left out, pixels
  int64_t max_side = 2048;          // longest side of a cached picture, pixels
  int64_t cache_bytes = int64_t{4} << 30;
  int64_t held_out_pictures = 100;  // most of each set, spread evenly over it
};

/// Reads all pictures that find_pictures() finds. The photos of scikit-image and opencv-doc, which are
/// sharp at the model's size, are one held-out set, "sharp photos".
///
/// throws   Error(kIo) an input that cannot be read; Error(kUsage) no picture to train on
void read_training_data(const DataOptions& options, TrainingData& data);

}  // namespace lexel::train
