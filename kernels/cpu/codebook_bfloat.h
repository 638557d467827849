#pragma once

#include <cstdint>

#include "kernels/cpu/codebook_panels.h"

namespace lexel::kernels::cpu {

/// How one kind of machine multiplies bfloat16: a tile of rows with a panel of codes.
struct BfloatTiles {
  const char* name;
  int64_t tile_rows;       // at most 32
  int64_t panel_codes;     // 32 or 48
  int64_t width_multiple;  // even; rows and codes are padded with zeros to a multiple of it
  void (*begin)();         // called by each thread before its first tile,
  void (*end)();           // and after its last
  /// Sums of products in float32, in any order, each begun with the code's bias; subnormal numbers may count as 0.
  ///
  /// rows       (tile_rows, width) bfloat16     width  padded
  /// panel      (panel_codes) float32 biases, then (width / 2, panel_codes, 2) bfloat16
  /// threshold  (tile_rows)
  /// scores     (tile_rows, panel_codes): written at least for the rows that the result names
  /// returns    bit r: a score of row r is >= threshold[r]
  uint32_t (*multiply)(const uint16_t* rows, int64_t width, const float* panel,
                       const float* threshold, float* scores);
};

/// The fastest tiles that this machine has, or null: AMX, or AVX-512 BF16.
const BfloatTiles* bfloat_tiles();
const BfloatTiles* amx_tiles();         // null without AMX
const BfloatTiles* bfloat_dot_tiles();  // null without AVX-512 BF16

/// Winners (top_k of 1) of the rows, the same bits as float32 throughout: bfloat16 finds the codes that may be the best, by
/// a bound of its error, and these are compared in float32.
///
/// rows     (N, D); winners hold ids of 0 and -infinity
/// returns  how many rows are left to the float32 code, because too many of their codes are too close, or their values
///          too large: these have kLeftRow as id, except where all N are left
int64_t find_by_bfloat(const BfloatTiles& tiles, const float* rows, int64_t num_rows,
                       const CodesInPlay& codes, const Winners& winners);
constexpr int64_t kLeftRow = -1;

}  // namespace lexel::kernels::cpu
