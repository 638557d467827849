#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "apps/data/compose/composer.h"
#include "apps/train/scorer/contrast.h"
#include "apps/train/scorer/recipe.h"
#include "tokenizers/image_tokenizer.h"

namespace lexel::train {

/// What a scorer learns from in one pass.
struct ScorerBatch {
  at::Tensor pictures;                // (B, 3, S, S) float32 in [0, 1]
  std::vector<std::string> captions;  // (C): B of the pictures, then changed ones
  at::Tensor ignored;  // (B, C) bool: another picture's caption that could be true of this one
};

/// A held-out scene as an evaluation wants it.
struct HeldOutScenes {
  at::Tensor pictures;  // (n, 3, S, S) float32 in [0, 1]
  at::Tensor decoded;   // the same through the picture tokenizer; undefined without one
  std::vector<std::string> captions;  // (n)
  std::vector<Content> contents;
  std::vector<std::vector<ChangedCaption>> changed;
};

/// Composed scenes for a scorer: fresh ones without end, and a share that went through the picture tokenizer, because
/// decoded pictures are what will be judged. A batch depends on the seed and its number alone.
class ScorerScenes {
 public:
  /// tokenizer  may be null when recipe.decoded is 0
  /// throws     Error(kUsage) when composer, model and tokenizer differ in their size, or there is no tokenizer
  ///            to decode with
  ScorerScenes(const data::Composer& composer, const ImageTokenizer* tokenizer,
               const ScorerRecipe& recipe);

  ScorerBatch batch(int64_t number);
  const HeldOutScenes& held_out();

 private:
  struct Example {
    at::Tensor picture;  // (S, S, 3) uint8
    data::Truth truth;
  };
  const Example& decoded_example(int64_t index);
  at::Tensor through_tokenizer(const at::Tensor& pictures) const;

  const data::Composer& composer_;
  const ImageTokenizer* tokenizer_;
  const ScorerRecipe recipe_;
  std::unordered_map<int64_t, Example> decoded_;  // made when they are first needed
  HeldOutScenes held_out_;
};

}  // namespace lexel::train
