#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "spae/lexical_codebook.h"

namespace lexel {

/// A file of words with their vectors, as setup/words.sh makes it and as a user may make one of any language model: a
/// .safetensors with "words" (U8, a JSON array of texts), "ids" (int32 or int64, of the model's vocabulary), "vectors" (words,
/// width) in float32, float16 or bfloat16 and, if wanted, "stand_ins" (U8, JSON: a word that the table lacks to the rows of
/// words near it, nearest first).
struct WordTableFile {
  spae::WordTable table;
  std::map<std::string, std::vector<int64_t>> stand_ins;
  std::map<std::string, std::string> metadata;
};

/// Reads and checks such a file.
///
/// throws   Error(kIo); Error(kBadData) naming the tensor: missing, of another shape or dtype, no JSON, more than 2^20 words
///          or a width past 16384, a word twice, a stand-in that names no row
WordTableFile read_word_table(const std::string& path);

/// Names with vectors and no ids: setup/words.sh classes.
struct NamedVectors {
  std::vector<std::string> names;
  at::Tensor vectors;  // (names, width) float32
};
/// throws   as read_word_table
NamedVectors read_named_vectors(const std::string& path);

}  // namespace lexel
