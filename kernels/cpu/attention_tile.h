#pragma once

#include <cstdint>

#include "kernels/attention_mask.h"

namespace lexel::kernels::cpu {

/// Queries of a tile: with so many rows, two (of 16 registers) or four (of 32) vectors of keys or values fill the
/// accumulators of a matrix product.
constexpr int64_t kTileQueries = 6;
/// Tiles of a block share each panel of keys, which then lies in L1.
constexpr int64_t kBlockTiles = 8;
constexpr int64_t kBlockQueries = kTileQueries * kBlockTiles;
/// Keys of a panel, where the mask is not the picture's window.
constexpr int64_t kPanelKeys = 64;
/// Head widths are padded to this many floats: whole vectors of every instruction set.
constexpr int64_t kWidthStep = 16;

/// How keys are packed: panels of `panel` keys, each (width, panel), so that vectors run over keys. Behind the last key
/// lie zeros.
struct KeyLayout {
  int64_t panel;  // keys; a multiple of 16
  int64_t
      chunk;  // keys that a tile looks at in one go, 16..panel: a panel, or its part of a row of the window
  int64_t size(int64_t keys, int64_t width) const {
    return (keys + panel - 1) / panel * panel * width;
  }
};

KeyLayout key_layout(const AttentionMask& mask, int64_t keys);

/// Rows of a head of a tensor: float32 or bfloat16, `width` values each; `stride` values from one to the next.
struct HeadRows {
  const void* data;
  int64_t stride;
  int64_t width;
  bool bfloat;
};

struct HeadRowsOut {
  void* data;
  int64_t stride;
  int64_t width;
  bool bfloat;
};

/// One query head with its key head. `width` is that of the heads, padded to a multiple of kWidthStep; arrays of float are
/// float32 rows of so many values.
struct AttentionHead {
  AttentionMask mask;
  KeyLayout layout;
  float scale;
  int64_t width;
  int64_t queries;
  int64_t keys;  // without padding at the end
  HeadRows q;
  const float* keys_transposed;  // as layout says
  const float* v;                // (keys, width)
  const float* key_bias;         // (keys, and a chunk more): 0, or -infinity for padding; or null
};

struct AttentionHeadBackward {
  AttentionHead head;
  const float* k;                  // (keys, width)
  const float* values_transposed;  // v, as layout says
  HeadRows grad;                   // of the result
  HeadRows out;                    // the result
  const float* log_sum_exp;        // (queries)
};

/// Rows as float32 (count, width), zeros behind their own width.
void read_rows(const HeadRows& rows, int64_t count, int64_t width, float* target);

/// The first values of each row of (count, width), to rows of a result.
void write_rows(const float* rows, int64_t count, int64_t width, const HeadRowsOut& target);

/// Rows to the layout of keys.
void pack_keys(const HeadRows& rows, int64_t count, int64_t width, const KeyLayout& layout,
               float* packed);

/// Floats of scratch that the next two need.
int64_t forward_scratch(int64_t width);
int64_t backward_scratch(int64_t width);

/// Results of the queries of block `block`: rows of `out`, and log_sum_exp (queries).
void forward_block(const AttentionHead& head, int64_t block, const HeadRowsOut& out,
                   float* log_sum_exp, float* scratch);

/// Gradients by the queries of a block: writes rows of q_grad; adds to k_grad and v_grad, (keys and kPanelKeys more, width).
void backward_block(const AttentionHeadBackward& work, int64_t block, const HeadRowsOut& q_grad,
                    float* k_grad, float* v_grad, float* scratch);

}  // namespace lexel::kernels::cpu
