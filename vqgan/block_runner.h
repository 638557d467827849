#pragma once

#include <ATen/core/Tensor.h>

#include "vqgan/transformer.h"

namespace lexel::vqgan {

/// How the two sublayers of a block meet the residual stream. The model's code knows one device, and this class does what that
/// takes. Parallelism is a class derived from it (apps/train/tokenizer/sharded_stacks.h), handed down beside `compute`: blocks then
/// hold a rank's heads and hidden units, and collectives stand in these two functions. They keep no state between calls.
class BlockRunner {
 public:
  virtual ~BlockRunner() = default;

  /// The normed stream, whole, on its way into the layer that begins a sublayer (qkv, up).
  ///
  /// x        (B, N, D) in `compute`
  virtual at::Tensor enter(const at::Tensor& x) const { return x; }

  /// The layer that ends a sublayer (out, down), back to the whole stream.
  ///
  /// x        (B, N, I): heads side by side or hidden units, in `compute`
  /// returns  (B, N, D), same dtype
  virtual at::Tensor leave(const Linear& layer, const at::Tensor& x) const {
    return apply_linear(layer, x);
  }
};

}  // namespace lexel::vqgan
