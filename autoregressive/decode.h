#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "autoregressive/packed_model.h"
#include "kernels/decode_attention.h"

namespace lexel::ar {

/// Draws token after token for B rows with caches that are allocated once: `start`, then one `step` a token.
class Decoder {
 public:
  /// Takes all memory for `rows` rows of up to grid_height * grid_width tokens.
  ///
  /// cache    kFloat, kBFloat16 or kChar (int8): dtype of keys and values
  /// throws   Error(kUsage) rows outside 1..kMaxRows; Error(kUnsupported) when the memory needed is more than there is, with both
  ///          numbers of bytes, before anything is taken
  Decoder(const PackedModel& model, int64_t rows, at::ScalarType cache);

  static constexpr int64_t kMaxRows = 16;

  /// Bytes that a decoder of so many rows takes: caches and working memory.
  static int64_t bytes(const Config& config, int64_t rows, at::ScalarType cache);

  /// Encodes the condition, fills the cross-attention's caches, and prefills the given first tokens.
  ///
  /// condition  `rows` rows
  /// given      (rows, n) int64, 0 <= n < N; undefined: none
  /// returns    (rows, K) float32: logits of token n
  at::Tensor start(const Condition& condition, const at::Tensor& given = {});

  /// One step: the logits of the token after `tokens`.
  ///
  /// tokens   (rows) int64 in [0, K)
  /// returns  (rows, K) float32
  /// throws   Error(kUsage) after the last token
  at::Tensor step(const at::Tensor& tokens);

  int64_t position() const { return position_; }  // of the token whose logits were given last

 private:
  const PackedModel& model_;
  int64_t rows_;
  int64_t position_ = -1;
  std::vector<kernels::KvCache> self_, cross_;  // by block
  at::Tensor text_lengths_;                     // (rows) int64
};

}  // namespace lexel::ar
