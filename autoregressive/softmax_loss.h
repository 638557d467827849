#pragma once

#include <ATen/core/Tensor.h>

#include "autoregressive/transformer.h"

namespace lexel::ar {

/// Mean of -ln softmax(x W^T + b)[target] over the rows of x: cross entropy in nats. Logits exist for a part of the rows at a
/// time. The gradients are computed in the same pass and kept, so that no logit is computed twice; differentiable once.
///
/// x        (R, D) float32, bfloat16 or float64: the product's dtype; the softmax is float32 (float64)
/// targets  (R) int64 in [0, K)
/// returns  () float32 (float64)
at::Tensor softmax_loss(const Linear& softmax, const at::Tensor& x, const at::Tensor& targets);

/// ln softmax(x W^T + b)[target] of each row, without gradient: (R) float32 (float64).
at::Tensor log_likelihoods(const Linear& softmax, const at::Tensor& x, const at::Tensor& targets);

}  // namespace lexel::ar
