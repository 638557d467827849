#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/model.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel::ar {

/// What captions mean to a generator.
struct Prompts {
  Condition given;  // a row a caption
  Condition none;   // one row: no caption, what guidance leads away from
  std::vector<std::string>
      warnings;  // what to say about each caption: "is empty: ..."; mostly nothing
};

/// Captions as pieces of text; for a generator of classes (VIM) each is the number of one, "7". An empty caption is none at all.
///
/// text     of the generator; null for one without a text encoder
/// throws   Error(kBadData) invalid UTF-8 (the caption is named); Error(kUsage) what is not the number of a class
Prompts read_prompts(const Config& config, const TextTokenizer* text,
                     const std::vector<std::string>& captions, at::Device device);

}  // namespace lexel::ar
