#pragma once

#include <cstdint>
#include <vector>

#include "apps/train/tokenizer/picture_pool.h"
#include "apps/train/tokenizer/recipe.h"

namespace lexel::train {

/// One training sample before any pixel is read.
struct Crop {
  int64_t picture = 0;
  int64_t level = 0;  // of its pyramid
  Box box;            // in pixels of that level, square
  bool mirrored = false;
};

/// Chooses the crops of a run. Sample n depends on the seed, n, and the pool alone, so batches do not
/// depend on how many threads make them, or on where a run was interrupted.
class CropSampler {
 public:
  /// throws   Error(kUsage) when the mixture names a set that the data does not have
  CropSampler(PicturePool& pool, const TrainRecipe& recipe);

  /// Decodes the picture if this is its first use. A broken picture is replaced by the next one.
  /// throws   Error(kBadData) when all are broken
  Crop sample(int64_t number) const;

  /// The crop's pixels, (3, S, S) floats in [0, 1].
  void cut(const Crop& crop, float* out) const;

 private:
  PicturePool& pool_;
  uint64_t seed_;
  int64_t size_, min_side_, skew_;
  bool flip_;
  std::vector<double> cumulative_;  // of picture weights
};

}  // namespace lexel::train
