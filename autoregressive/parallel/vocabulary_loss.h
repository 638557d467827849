#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

#include "autoregressive/parallel/group.h"
#include "autoregressive/transformer.h"

namespace lexel::parallel {

/// Rows whose logits exist at once: two all-reduces each.
constexpr int64_t kLossRows = 2048;

/// softmax_loss of softmax_loss.h where each rank has the same number of rows of W and b, in the order of ranks. No rank sees
/// another's logits: the largest one of a row, the sum of exponentials and the target's logit are all-reduced.
///
/// softmax  (K / n, D), (K / n)
/// x        (R, D), equal on all ranks; its gradient is partial
/// targets  (R) int64 in [0, K)
/// returns  () float32 (float64), equal; differentiable once
/// source   Shoeybi et al. 2019, arXiv:1909.08053, section 3
at::Tensor vocabulary_loss(const ar::Linear& softmax, const at::Tensor& x,
                           const at::Tensor& targets, const Group& group);

/// ln softmax(x W^T + b)[target] of each row, without gradient: (R) float32 (float64), equal.
at::Tensor vocabulary_log_likelihoods(const ar::Linear& softmax, const at::Tensor& x,
                                      const at::Tensor& targets, const Group& group);

}  // namespace lexel::parallel
