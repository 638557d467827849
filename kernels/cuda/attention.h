#pragma once

// Attention on CUDA, forward and backward, in tiles that stay on the chip; the scores never reach memory.
//
// bfloat16: products by mma.sync m16n8k16 with float32 sums (sm_80 and later); on sm_90a by wgmma (backward: head widths up
// to 64). float32: each value is split into three bfloat16 parts that together keep its 24 bits, and a product is the six
// products of parts above 2^-24: as exact as float32 multiply-adds, by the same code.
//
// Nothing here has run on a GPU yet. What is expected, and what `lexel bench kernels` settles on the first one: our kernels
// win under the conv and prefix masks and key masks, which SDPA takes as a table and skips nothing of, and at head widths up
// to 64 on an H100; cuDNN wins the forward pass without these at head width 128 there, and on sm_100 (attention.cpp gives it
// these). The backward pass is ours everywhere: SDPA's are deterministic on request only, or not at all.

#include <cstdint>

#include "kernels/attention_mask.h"
#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

/// A (B, H, N, d) tensor of the type of the call: rows contiguous, of any strides, in elements, that are multiples of 16 bytes
/// as the pointer is.
struct AttentionInput {
  const void* data;
  int64_t batch_stride, head_stride, row_stride;
};

/// The same, of results.
struct AttentionOutput {
  void* data;
  int64_t batch_stride, head_stride, row_stride;
};

struct AttentionSizes {
  bool bfloat16;          // or float32
  int64_t batch;          // B
  int64_t heads;          // H
  int64_t key_heads;      // G, divides H
  int64_t queries, keys;  // N, M < TileMask::kMaxPositions
  int64_t width;          // d, 8..128, a multiple of 8
  AttentionMask mask;
  const bool* key_mask;  // (B, M), or null: all keys are real
};

struct AttentionForwardArguments {
  AttentionSizes sizes;
  AttentionInput q, k, v;
  AttentionOutput out;
  float* log_sum_exp;               // (B, H, N), written
  int capability, multiprocessors;  // of the device, see DeviceLimits
};

struct AttentionBackwardArguments {
  AttentionSizes sizes;
  AttentionInput q, k, v, out, grad;  // grad is of the loss in out
  const float* log_sum_exp;           // (B, H, N)
  float *log2_sums, *deltas;          // (B, H, N) scratch: log_sum_exp / log(2), and grad . out
  AttentionOutput grad_q, grad_k, grad_v;
  int capability, multiprocessors;
};

/// throws   Error(kInternal) when a launch fails
void launch_attention_forward(const AttentionForwardArguments& arguments, Stream stream);
void launch_attention_backward(const AttentionBackwardArguments& arguments, Stream stream);

/// Their choices for bfloat16 on capability 90 (sm_90a); the second for widths up to 64, after D and the sums are known.
void launch_attention_forward_sm90(const AttentionForwardArguments& arguments, Stream stream);
void launch_attention_backward_sm90(const AttentionBackwardArguments& arguments, Stream stream);

}  // namespace lexel::kernels::cuda
