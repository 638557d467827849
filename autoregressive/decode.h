#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "autoregressive/packed_model.h"
#include "kernels/decode_attention.h"

namespace lexel::ar {

/// Draws token after token for B rows with caches that are allocated once: `start`, then `step` for each token, or `feed` for
/// several that are known. However a row's tokens are cut into calls, and whatever stands in the other rows, its logits are
/// the same bits.
class Decoder {
 public:
  /// Takes all memory for `rows` rows of up to grid_height * grid_width tokens. The model must outlive the decoder.
  ///
  /// cache    kFloat, kBFloat16 or kChar (int8): dtype of keys and values
  /// throws   Error(kUsage) rows outside 1..kMaxRows, or another dtype; Error(kUnsupported) when the memory needed is more than
  ///          there is, with both numbers of bytes, before anything is taken
  Decoder(const PackedModel& model, int64_t rows, at::ScalarType cache);

  static constexpr int64_t kMaxRows = 16;

  /// Bytes that a decoder of so many rows takes: caches and working memory, of each of `ranks` that share the heads.
  static int64_t bytes(const Config& config, int64_t rows, at::ScalarType cache, int64_t ranks = 1);

  /// Encodes the condition, fills the cross-attention's caches, and feeds the given first tokens. May be called again, for
  /// other pictures. Each caption is encoded alone and without its padding, so that its neighbours do not matter.
  ///
  /// condition  `rows` rows
  /// given      (rows, n) int64, 0 <= n < N; undefined: none
  /// returns    (rows, K) float32: logits of token n
  /// throws     Error(kUsage) on another shape, dtype or value
  at::Tensor start(const Condition& condition, const at::Tensor& given = {});

  /// The tokens that follow those so far; many at once cost less than a step each.
  ///
  /// tokens   (rows, n) int64 in [0, K), n >= 1
  /// returns  (rows, K) float32: logits of the token after them
  /// throws   Error(kUsage) before start(), past the token before the last, or on another shape, dtype or value
  at::Tensor feed(const at::Tensor& tokens);

  /// feed() of one token a row.
  ///
  /// tokens   (rows) int64 in [0, K)
  at::Tensor step(const at::Tensor& tokens) { return feed(tokens.unsqueeze(1)); }

  int64_t position() const { return position_; }  // of the token whose logits were given last

 private:
  at::Tensor run(const at::Tensor& x);  // (n, rows, D) without positions: inputs of the next n
  void fill_text(const Condition& condition);
  at::Tensor run_blocks(const at::Tensor& x, const kernels::DecodeRows& rows);  // (n, rows, D)

  const PackedModel& model_;
  int64_t rows_;
  int64_t position_ = -1;
  std::vector<kernels::KvCache> self_, cross_;  // by block
  at::Tensor text_lengths_;                     // (rows) int64
  at::Tensor tasks_;                            // (rows) int64, of experts that are routed by task
  at::Tensor places_;                           // (max(N, M), rows) int64: row p holds p
};

}  // namespace lexel::ar
