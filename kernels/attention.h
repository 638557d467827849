#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/attention_mask.h"

namespace lexel::kernels {

/// softmax(q k^T / sqrt(d)) v over the keys that each query sees: for training and prefill. Differentiable once in q, k and
/// v. Keys that a mask hides cost neither work nor memory, but for those that share a block with ones that are seen.
/// Deterministic: the same inputs give the same bits on one device and instruction set, with any number of threads in our
/// kernels. A query that sees no key gives zeros, and gradients of zero. Scores and sums are float32.
///
/// With fewer key heads than query heads (grouped queries), query head h reads key head h / (H / G).
///
/// Head widths above 128, on CUDA those that are no multiple of 8, and up to 1024 bfloat16 keys without a mask on a CPU with
/// AMX go by ATen's products (softmax in q's dtype; memory for all scores).
///
/// q         (B, H, N, d) float32 or bfloat16, CPU or CUDA; the last dimension contiguous, the others of any stride; finite
/// k, v      (B, G, M, d) same dtype and device; G divides H; finite also where hidden: a weight of 0 times NaN is NaN
/// mask      by position; all but full need N == M
/// key_mask  (B, M) bool, false for padding; undefined: all keys are real
/// returns   (B, H, N, d) of q's dtype, laid out as (B, N, H, d) so that joining heads is free
/// throws    Error(kUsage) on another dtype, rank, size, device or stride, and from a second derivative
/// source    Vaswani et al. 2017, arXiv:1706.03762, eq. 1; tiles and running maximum: Dao et al. 2022,
///           arXiv:2205.14135, algorithm 1 and, backward, algorithm 4
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionMask& mask = {}, const at::Tensor& key_mask = {});

/// The meaning of attention: float64 throughout, the whole score matrix, differentiable by ATen; same arguments and
/// results.
at::Tensor attention_reference(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const AttentionMask& mask = {}, const at::Tensor& key_mask = {});

/// The mask as a table: (queries, keys) bool on the CPU, true where the query sees the key.
at::Tensor mask_table(const AttentionMask& mask, int64_t queries, int64_t keys);

}  // namespace lexel::kernels
