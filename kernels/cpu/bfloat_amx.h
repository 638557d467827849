#pragma once

#include <cstdint>

namespace lexel::kernels::cpu {

// The step of BfloatTiles on AMX: 32 rows x 32 codes in four accumulator tiles of 16 x 16, two tiles of rows and two of
// codes beside them: all eight tile registers.
constexpr int64_t kAmxRows = 32;
constexpr int64_t kAmxCodes = 32;
constexpr int64_t kAmxWidth = 32;  // bfloat16 of a tile's line: 64 bytes

/// `Tiles` are the tile instructions: load<t>(base, stride), zero<t>(), multiply<to, rows, codes>(), store<t>(base,
/// stride), on 8 registers t of 16 lines of 64 bytes; strides in bytes. The arguments are BfloatTiles::multiply's;
/// scores (kAmxRows, kAmxCodes) are always written.
template <class Tiles>
void multiply_by_tiles(const uint16_t* rows, int64_t width, const float* panel, float* scores) {
  constexpr int64_t kHalf = 16;  // lines of a tile; also its floats of a line
  constexpr int64_t kLine =
      kAmxCodes * int64_t{sizeof(float)};  // bytes of a line of the panel, or of scores
  const int64_t row_line = width * int64_t{sizeof(uint16_t)};
  Tiles::template load<0>(panel, 0);  // stride 0: the biases, in each of the 16 lines
  Tiles::template load<1>(panel + kHalf, 0);
  Tiles::template load<2>(panel, 0);
  Tiles::template load<3>(panel + kHalf, 0);
  for (int64_t d = 0; d < width; d += kAmxWidth) {
    // 32 widths are 16 lines of pairs.
    const float* const codes = panel + kAmxCodes + d / 2 * kAmxCodes;
    Tiles::template load<4>(rows + d, row_line);
    Tiles::template load<5>(rows + kHalf * width + d, row_line);
    Tiles::template load<6>(codes, kLine);
    Tiles::template load<7>(codes + kHalf, kLine);
    Tiles::template multiply<0, 4, 6>();
    Tiles::template multiply<1, 4, 7>();
    Tiles::template multiply<2, 5, 6>();
    Tiles::template multiply<3, 5, 7>();
  }
  Tiles::template store<0>(scores, kLine);
  Tiles::template store<1>(scores + kHalf, kLine);
  Tiles::template store<2>(scores + kHalf * kAmxCodes, kLine);
  Tiles::template store<3>(scores + kHalf * kAmxCodes + kHalf, kLine);
}

}  // namespace lexel::kernels::cpu
