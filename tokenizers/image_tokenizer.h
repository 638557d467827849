#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

#include "tokenizers/io/preprocess.h"

namespace lexel {

/// What a loaded tokenizer is.
struct TokenizerInfo {
  std::string kind;                         // "vit_vqgan"
  std::string name;                         // file name of the model
  int64_t image_size = 0;                   // pixels, square
  int64_t grid_height = 0, grid_width = 0;  // tokens
  int64_t codebook_size = 0;                // K
  int64_t parameter_count = 0;
  std::string codebook_fingerprint;  // SHA-256, hex: token files carry it
  Preprocess preprocess;
  std::string license;
  std::string provenance;  // JSON
};

/// Pictures to tokens and back. Thread-safe for concurrent calls; no gradients.
class ImageTokenizer {
 public:
  virtual ~ImageTokenizer() = default;
  virtual const TokenizerInfo& info() const = 0;

  /// images   (B, 3, image_size, image_size) float32 in [0, 1]; any device, moved to the model's
  /// returns  (B, grid_height * grid_width) int64 in [0, K), CPU; row k depends on image k alone
  /// throws   Error(kUsage) on another shape or dtype
  virtual at::Tensor encode(const at::Tensor& images) const = 0;

  /// tokens   (B, grid_height * grid_width) integers in [0, K)
  /// returns  (B, 3, image_size, image_size) float32 in [0, 1], CPU
  /// throws   Error(kUsage) on another shape, Error(kBadData) on an id past the codebook
  virtual at::Tensor decode(const at::Tensor& tokens) const = 0;
};

}  // namespace lexel
