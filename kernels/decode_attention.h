#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/attention_mask.h"

namespace lexel::kernels {

/// Keys and values of one layer, T places for each row and head, allocated once.
struct KvCache {
  at::Tensor keys, values;  // (B, G, T, d) float32, bfloat16 or int8
  at::Tensor key_scales,
      value_scales;  // (B, G, T) float32, only of int8: a vector is its scale times its int8
  at::Tensor
      arrivals;  // int32 zeros, CUDA only: where the blocks of a row count each other. Without it each
                 // call makes its own; one stream at a time works on a cache
};

/// A cache of zeros.
///
/// dtype    float32, bfloat16 or int8: 4 d, 2 d or d + 4 bytes a key
/// throws   Error(kUsage) on another dtype, a size < 1, or d not a multiple of 8 in 8..128
KvCache make_kv_cache(int64_t batch, int64_t heads, int64_t capacity, int64_t width,
                      at::ScalarType dtype, at::Device device);

/// Writes one step's key and value of each row into the cache, rounded to its dtype; int8: scale = max |x| / 127, nearest,
/// ties to even; a vector of zeros keeps scale 0, one with a NaN or an infinity gets scale NaN (int8_rounding.h).
///
/// k, v       (B, G, d) float32 or bfloat16, one dtype, same device, last dimension contiguous
/// positions  (B) int64 on the same device, each in 0..T-1. On the CPU another value is an error; on CUDA that row is not
///            written (a check would have to wait for the device)
/// throws     Error(kUsage) on another dtype, shape or device
void append_(KvCache& cache, const at::Tensor& k, const at::Tensor& v, const at::Tensor& positions);

/// softmax(q k^T / sqrt(d)) v of one query a row against the first lengths[b] keys of its cache: a decode step. The query of a
/// causal, prefix or conv mask stands at position lengths[b] - 1; of a full mask (cross attention) it has no
/// position. A row of length 0 gives zeros; places past the length are never read. Grouped queries as in attention(). Sums
/// are float32 in an order that depends on d, T, the mask and the row's length only: the same bits whatever the
/// batch holds beside a row. NaN and infinities in a key that is seen go through as in plain arithmetic.
///
/// q        (B, H, d) float32 or bfloat16, CPU or CUDA, last dimension contiguous
/// cache    same batch, width and device; its heads divide H
/// lengths  (B) int64, each in 0..T, on the same device. On the CPU another value is an error; on CUDA it is clamped
/// returns  (B, H, d) contiguous, of q's dtype
/// throws   Error(kUsage) on another dtype, shape, device or stride
at::Tensor decode_attention(const at::Tensor& q, const KvCache& cache, const at::Tensor& lengths,
                            const AttentionMask& mask = {});

/// The meaning of decode_attention: float64 throughout; same arguments and results.
at::Tensor decode_attention_reference(const at::Tensor& q, const KvCache& cache,
                                      const at::Tensor& lengths, const AttentionMask& mask = {});

}  // namespace lexel::kernels
