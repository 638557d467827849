#pragma once

#include <ATen/ops/full.h>
#include <memory>
#include <string>
#include <vector>

#include "autoregressive/scorer_model.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::tests {

inline std::shared_ptr<const TextTokenizer> english() {
  static const std::shared_ptr<const TextTokenizer> tokenizer =
      text_tokenizer_from_bytes(english_model(), "english");
  return tokenizer;
}

inline ar::ScorerConfig tiny_scorer() {
  ar::ScorerConfig config;
  config.image_size = 32;
  config.text_vocabulary = english()->vocabulary_size();
  config.max_text_tokens = 24;
  config.width = 32;
  config.heads = 2;
  config.hidden = 64;
  config.picture_depth = 1;
  config.text_depth = 1;
  config.space = 16;
  return config;
}

/// Pictures of one colour at one place: different for each k < 32.
inline at::Tensor pictures(int64_t count) {
  at::Tensor images = at::full({count, 3, 32, 32}, 0.5f);
  for (int64_t k = 0; k < count; ++k) {
    images[k].select(0, k % 3).narrow(0, 8 * (k / 3 % 4), 8).narrow(1, 8 * (k / 12), 8).fill_(1.0);
  }
  return images;
}

inline std::vector<std::string> captions(int64_t count) {
  const std::vector<std::string> out = english_captions();
  std::vector<std::string> chosen;
  for (int64_t k = 0; k < count; ++k) chosen.push_back(out[static_cast<size_t>(k) * 6]);
  return chosen;
}

}  // namespace lexel::tests
