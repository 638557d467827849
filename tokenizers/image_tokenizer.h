#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/preprocess.h"

namespace lexel {

/// Tokens of one tile: of all positions of the grid once, or of all layers of a pyramid.
inline int64_t tokens_of_tile(int64_t grid_height, int64_t grid_width,
                              const std::vector<int64_t>& layer_sides) {
  int64_t tokens = layer_sides.empty() ? grid_height * grid_width : 0;
  for (const int64_t side : layer_sides) tokens += side * side;
  return tokens;
}

/// What a loaded tokenizer is.
struct TokenizerInfo {
  std::string kind;                         // "vit_vqgan", "spae"
  std::string name;                         // file name of the model
  int64_t image_size = 0;                   // pixels, square
  int64_t grid_height = 0, grid_width = 0;  // positions
  std::vector<int64_t>
      layer_sides;            // of a pyramid's layers, from the top; empty: a token a position
  int64_t codebook_size = 0;  // K
  int64_t parameter_count = 0;
  std::vector<std::string> words;    // of the codes, where they are words; else empty
  std::string codebook_fingerprint;  // SHA-256, hex: token files carry it
  Preprocess preprocess;
  std::string license;
  std::string provenance;  // JSON

  int64_t tokens() const { return tokens_of_tile(grid_height, grid_width, layer_sides); }
};

/// Pictures to tokens and back. Thread-safe for concurrent calls; no gradients.
class ImageTokenizer {
 public:
  virtual ~ImageTokenizer() = default;
  virtual const TokenizerInfo& info() const = 0;

  /// images   (B, 3, image_size, image_size) float32 in [0, 1]; any device, moved to the model's
  /// returns  (B, info().tokens()) int64 in [0, K), CPU: row-major, of a pyramid layer by layer; row k depends on image k
  ///          alone
  /// throws   Error(kUsage) on another shape or dtype
  virtual at::Tensor encode(const at::Tensor& images) const = 0;

  /// tokens   (B, info().tokens()) integers in [0, K); of a pyramid the first layers will do
  /// returns  (B, 3, image_size, image_size) float32 in [0, 1], CPU
  /// throws   Error(kUsage) on another shape, Error(kBadData) on an id past the codebook, and on tokens of a pyramid that
  ///          end in the middle of a layer
  virtual at::Tensor decode(const at::Tensor& tokens) const = 0;
};

}  // namespace lexel
