#pragma once

#include <cstdint>

#include "kernels/attention_mask.h"

namespace lexel::kernels::cpu {

enum class CacheFormat { kFloat32, kBFloat16, kInt8 };

/// The arguments of decode_attention, checked.
struct DecodeProblem {
  const float* q;  // (B, H, d), already divided by sqrt(d)
  CacheFormat format;
  const void* keys;  // (B, G, T, d)
  const void* values;
  const float* key_scales;  // (B, G, T), null unless int8
  const float* value_scales;
  const int64_t* lengths;  // (B)
  AttentionMask mask;
  int64_t batch, heads, key_heads, capacity, width;
  float* out;  // (B, H, d), written
};

void decode_attention(const DecodeProblem& problem);

/// The same for one row and head, on the calling thread: for code that has threads of its own.
void decode_attention_of_head(const DecodeProblem& problem);

/// Rounds a vector of `width` float32 into a place of a cache (T, d) of one head; `scales` (T), int8 only.
void write_vector(const float* vector, int64_t width, CacheFormat format, void* cache,
                  float* scales, int64_t place);

}  // namespace lexel::kernels::cpu
