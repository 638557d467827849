#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>

#include "apps/train/detector/pasted_scenes.h"
#include "tokenizers/image_tokenizer.h"

namespace lexel::train {

/// Scenes as a picture tokenizer draws them: what a detector of generated pictures will meet. A decoded picture
/// costs many times a pasted one, so each is used again and again while a window moves slowly over the list.
class DecodedScenes {
 public:
  struct Picture {
    at::Tensor pixels;  // (3, S, S) uint8
    data::Truth truth;
  };

  /// Scenes of `pasted` from number `first_number` on. Both outlive this.
  DecodedScenes(PastedScenes& pasted, const ImageTokenizer& tokenizer, int64_t first_number);

  /// Makes [begin, end) available and forgets all others. What a number holds depends on nothing else.
  void hold(int64_t begin, int64_t end);

  /// One of those that are held.
  const Picture& at(int64_t number) const;

 private:
  PastedScenes& pasted_;
  const ImageTokenizer& tokenizer_;
  int64_t first_number_;
  std::map<int64_t, Picture> held_;
};

/// Pictures through the tokenizer and back.
///
/// images   (B, 3, S, S) float32 in [0, 1], any B
/// returns  the same shape, CPU
at::Tensor decoded(const ImageTokenizer& tokenizer, const at::Tensor& images);

}  // namespace lexel::train
