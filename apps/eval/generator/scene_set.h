#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/data/compose/composer.h"
#include "tokenizers/io/model_file.h"

namespace lexel::eval {

/// Scenes to measure with.
struct SceneSet {
  std::vector<std::string> captions;
  std::vector<data::Truth> truths;
  at::Tensor pictures;  // (N, 3, S, S) float32 in [0, 1]
  std::string hash;     // SHA-256 over pictures and captions, hex
  int64_t count() const { return static_cast<int64_t>(captions.size()); }
};

/// What the scenes looked like that a generator learnt from: fields compose.* of the recipe in its provenance. The
/// defaults where it tells of none.
///
/// name     of the generator, for messages
/// canvas   side of a picture, pixels: follows from the tokenizer
/// throws   Error(kBadData) a field of another type, or with a value that cannot be
data::ComposeConfig scenes_of_training(const ModelFile& generator, const std::string& name,
                                       int64_t canvas);

/// Scenes `first` to `first + count - 1` of a composer.
SceneSet compose_set(const data::Composer& composer, data::Split split, int64_t first,
                     int64_t count);

}  // namespace lexel::eval
