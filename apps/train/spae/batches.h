#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "apps/train/spae/picture_scores.h"
#include "apps/train/spae/pictures.h"
#include "apps/train/spae/recipe.h"
#include "spae/semantic_guide.h"
#include "spae/semantic_loss.h"

namespace lexel::train {

/// Pictures with what the guide sees in them and which words they shall become.
struct WordBatch {
  at::Tensor images;    // (B, 3, S, S) float32 in [0, 1], on the guide's device
  at::Tensor features;  // (B, F) float32: spae::guide_features
  spae::WordTargets targets;
};

/// Batch n from the seed and n alone.
class WordBatches {
 public:
  /// All outlive this.
  ///
  /// semantics  (K, S) of the words, on the guide's device
  /// scores     a user's, in the place of the guide's where a picture has some; may be null
  WordBatches(const SpaeRecipe& recipe, WordPictures& pictures, const spae::DualEncoder& guide,
              at::Tensor semantics, const PictureScores* scores);

  WordBatch batch(int64_t number);

  /// Held-out pictures begin .. begin + count; their targets know no captions.
  WordBatch held_out_drawings(int64_t begin, int64_t count);
  WordBatch held_out_photos(int64_t begin, int64_t count);

 private:
  struct Item {
    bool photo = false;
    int64_t number = 0, view = 0;
  };
  at::Tensor features_of(const std::vector<Item>& items, const at::Tensor& images);
  WordBatch finish(std::vector<at::Tensor> pictures, at::Tensor features,
                   const std::vector<spae::KnownWords>& captions,
                   const std::vector<std::string>& names) const;

  const SpaeRecipe& recipe_;
  WordPictures& pictures_;
  const spae::DualEncoder& guide_;
  at::Tensor semantics_;
  const PictureScores* scores_;
  std::map<std::pair<int64_t, int64_t>, at::Tensor> kept_;  // float16, of drawings; photos below 0
};

}  // namespace lexel::train
