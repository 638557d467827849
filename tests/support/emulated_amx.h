#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/bfloat_amx.h"
#include "kernels/cpu/codebook_bfloat.h"

namespace lexel::tests {

/// The tile instructions of Intel's AMX in plain loops, with 8 registers of 16 lines of 64 bytes.
/// source   Intel Architecture Instruction Set Extensions, TDPBF16PS: even and odd products are summed apart, each by a fused
///          multiply-add, then added to each other and to the accumulator; round to nearest; subnormal numbers are 0 on the
///          way in and out
class EmulatedAmx {
 public:
  template <int kTile>
  static void load(const void* base, int64_t stride) {
    for (int64_t line = 0; line < kLines; ++line) {
      std::memcpy(tiles[kTile][line], static_cast<const char*>(base) + line * stride, kLineBytes);
    }
  }

  template <int kTo, int kRows, int kCodes>
  static void multiply() {
    for (int64_t m = 0; m < kLines; ++m) {
      for (int64_t n = 0; n < kLines; ++n) {
        float sums[2] = {0.0F, 0.0F};  // of the even, of the odd products
        for (int64_t k = 0; k < kLines; ++k) {
          for (int64_t half = 0; half < 2; ++half) {
            const float a = value(tiles[kRows][m], 2 * k + half);
            const float b = value(tiles[kCodes][k], 2 * n + half);
            sums[half] = flushed(std::fma(a, b, sums[half]));
          }
        }
        float accumulator = 0.0F;
        std::memcpy(&accumulator, tiles[kTo][m] + 4 * n, sizeof accumulator);
        accumulator = flushed(flushed(accumulator) + flushed(sums[0] + sums[1]));
        std::memcpy(tiles[kTo][m] + 4 * n, &accumulator, sizeof accumulator);
      }
    }
  }

  template <int kTile>
  static void store(void* base, int64_t stride) {
    for (int64_t line = 0; line < kLines; ++line) {
      std::memcpy(static_cast<char*>(base) + line * stride, tiles[kTile][line], kLineBytes);
    }
  }

 private:
  static constexpr int64_t kLines = 16, kLineBytes = 64;
  static inline thread_local char tiles[8][kLines][kLineBytes];

  static float flushed(float x) {
    return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0F, x) : x;
  }

  static float value(const char* line, int64_t place) {
    uint16_t bfloat = 0;
    std::memcpy(&bfloat, line + 2 * place, sizeof bfloat);
    const uint32_t bits = uint32_t{bfloat} << 16;
    float result = 0.0F;
    std::memcpy(&result, &bits, sizeof result);
    return flushed(result);
  }
};

/// BfloatTiles on the emulated instructions.
inline const kernels::cpu::BfloatTiles& emulated_amx_tiles() {
  using namespace kernels::cpu;  // NOLINT: sizes of the tile
  static const BfloatTiles tiles{"emulated AMX",
                                 kAmxRows,
                                 kAmxCodes,
                                 kAmxWidth,
                                 [] {},
                                 [] {},
                                 [](const uint16_t* rows, int64_t width, const float* panel,
                                    const float* threshold, float* scores) {
                                   multiply_by_tiles<EmulatedAmx>(rows, width, panel, scores);
                                   uint32_t found = 0;
                                   for (int64_t r = 0; r < kAmxRows; ++r) {
                                     for (int64_t j = 0; j < kAmxCodes; ++j) {
                                       if (scores[r * kAmxCodes + j] >= threshold[r])
                                         found |= uint32_t{1} << r;
                                     }
                                   }
                                   return found;
                                 }};
  return tiles;
}

}  // namespace lexel::tests
