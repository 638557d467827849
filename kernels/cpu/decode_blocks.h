#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention_mask.h"
#include "kernels/cpu/decode_attention.h"
#include "kernels/cpu/linear_decode.h"

namespace lexel::kernels::cpu {

/// A cache (B, H, T, d) as plain pointers.
struct CachePointers {
  CacheFormat format = CacheFormat::kFloat32;
  void *keys = nullptr, *values = nullptr;
  float *key_scales = nullptr, *value_scales = nullptr;  // (B, H, T), null unless int8
  int64_t heads = 0, capacity = 0, width = 0;            // H, T, d
};

/// A block, checked; of the linear maps everything but x, batch, residual and y is filled in. No values: it has no such map.
struct BlockProblem {
  LinearProblem qkv, out, cross_q, cross_out, up, down;
  CachePointers self, cross;
  AttentionMask mask;
};

/// The arguments of decode_blocks, checked.
struct BlocksProblem {
  std::vector<BlockProblem> blocks;
  int64_t steps, batch, width;
  const int64_t* positions;     // (steps, batch)
  const int64_t* text_lengths;  // (batch), null without cross-attention
  float* x;                     // (steps, batch, width): read, and written
};

void decode_blocks(const BlocksProblem& problem);

}  // namespace lexel::kernels::cpu
