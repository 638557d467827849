#pragma once

#include <cstdint>

#include "kernels/attention_mask.h"
#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

enum class CacheFormat { kFloat32, kBFloat16, kInt8 };

/// How the keys of a row are divided among blocks: by the capacity T and the mask alone.
struct KeySplit {
  int64_t keys;    // of one split, among those that the mask lets be seen
  int64_t splits;  // enough for a full cache
};
KeySplit split_keys(int64_t capacity, const AttentionMask& mask);

/// Query heads that share a key head are taken so many at a time.
constexpr int64_t kSharingHeads = 4;
constexpr int64_t count_arrivals(int64_t batch, int64_t heads, int64_t key_heads) {
  return batch * key_heads * ((heads / key_heads + kSharingHeads - 1) / kSharingHeads);
}

struct AppendArguments {
  const void *k, *v;  // (B, G, d), bfloat16 or float32
  bool step_is_bfloat16;
  int64_t k_row_stride, k_head_stride, v_row_stride, v_head_stride;
  const int64_t* positions;          // (B)
  void *keys, *values;               // (B, G, T, d), written
  float *key_scales, *value_scales;  // (B, G, T), written; kInt8
  CacheFormat format;
  int64_t batch, key_heads, capacity, width;
};

struct DecodeAttentionArguments {
  const void* q;  // (B, H, d), bfloat16 or float32
  bool is_bfloat16;
  int64_t q_row_stride, q_head_stride;
  const void *keys, *values;               // (B, G, T, d)
  const float *key_scales, *value_scales;  // (B, G, T); kInt8
  CacheFormat format;
  const int64_t* lengths;  // (B)
  AttentionMask mask;
  int64_t batch, heads, key_heads, capacity, width;
  float* partial;      // (B, H, splits, d + 2), scratch; if splits > 1
  uint32_t* arrivals;  // count_arrivals() zeros, left as zeros; if splits > 1
  void* out;           // (B, H, d), of q's type, written
};

/// throws   Error(kInternal) when the launch fails
void launch_append(const AppendArguments& arguments, Stream stream);
void launch_decode_attention(const DecodeAttentionArguments& arguments, Stream stream);

}  // namespace lexel::kernels::cuda
