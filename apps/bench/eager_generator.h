#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "autoregressive/model.h"

namespace lexel::bench {

/// A generator as one writes it in LibTorch: an op a line, at::scaled_dot_product_attention over a preallocated cache, the
/// logits' guidance and sampling by ATen. What `ar::generate` is timed beside.
class EagerGenerator {
 public:
  /// dtype: of weights, cache and arithmetic; kFloat or kBFloat16.
  EagerGenerator(ar::Model model, at::ScalarType dtype);

  /// Encodes the text and makes room for all tokens.
  void start(const ar::Condition& condition);

  /// tokens   (rows) int64: the last ones; undefined at the first call
  /// returns  (rows, K) float32: logits of the next
  at::Tensor step(const at::Tensor& tokens = {});

  /// All tokens of the pictures in the first half of the rows, the second half unconditional: (rows / 2, N).
  at::Tensor draw(const ar::Condition& condition, double guidance, int64_t top_k);

 private:
  at::Tensor attend(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                    const at::Tensor& seen) const;

  ar::Model model_;
  at::Tensor positions_;                   // (N, D)
  std::vector<at::Tensor> keys_, values_;  // by block: (rows, H, N, d)
  std::vector<at::Tensor> text_keys_, text_values_;
  at::Tensor text_seen_;  // (rows, 1, 1, m) bool
  int64_t rows_ = 0, position_ = 0;
};

}  // namespace lexel::bench
