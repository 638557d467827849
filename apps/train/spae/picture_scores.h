#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lexel::train {

/// A user's own scores of words for pictures (CLIP's, for one): a .safetensors with "names" (U8, a JSON array of picture names
/// as the tars and folders have them), "words" (U8, a JSON array: the columns) and "scores" (names, words) in floats.
class PictureScores {
 public:
  /// words    of the codebook: the file must have them all, in any order
  /// throws   Error(kIo); Error(kBadData) naming the tensor, or the first word that the file lacks
  PictureScores(const std::string& path, const std::vector<std::string>& words);

  /// (K) float32 in the order of the codebook; undefined for a picture that the file does not have.
  at::Tensor of(const std::string& name) const;
  int64_t pictures() const { return static_cast<int64_t>(rows_.size()); }

 private:
  std::map<std::string, int64_t> rows_;
  at::Tensor scores_;  // (pictures, K) float32
};

}  // namespace lexel::train
