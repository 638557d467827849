#pragma once

// Twin of kernels/cuda/ptx/mma.h, where the fragments are drawn. Sums here are float32 in order of k; the device's order and
// rounding within one instruction are not documented.

#include <bit>
#include <cstdint>
#include <cstring>
#include <cuda_bf16.h>

#include "kernels/cuda/ptx/shared_memory.h"
#include "tests/cuda_emulator/block.h"

namespace lexel::kernels::cuda::ptx {

using Site = cuda_emulator::Site;

inline uint32_t pack_bf16(float low, float high) {
  return uint32_t{lexel_bfloat16_bits(high)} << 16 | lexel_bfloat16_bits(low);
}

inline uint32_t pack_half(float low, float high) {
  return uint32_t{lexel_half_bits(high)} << 16 | lexel_half_bits(low);
}

inline float half_value(uint32_t packed, int which) {
  return lexel_half_value(static_cast<uint16_t>(packed >> (16 * which)));
}

// --- how the values of a lane's registers are read ---------------------------------------------------------------------
struct Bf16Values {
  static float get(uint32_t r, int i) { return std::bit_cast<float>(r >> (16 * i) << 16); }
};

struct HalfValues {
  static float get(uint32_t r, int i) { return half_value(r, i); }
};

struct Operands {
  const uint32_t* a;
  uint32_t b[2];
  float* c;
};

/// c += a b of a warp, all of it once, by the lane that comes last.
template <class Values>
void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const char* what,
              Site site) {
  Operands mine{a, {b0, b1}, c};
  const auto combine = [](void* const* lanes) {
    constexpr int kDepth = 16;
    float a_tile[16][kDepth], b_tile[kDepth][8];
    for (int lane = 0; lane < 32; ++lane) {
      const auto& from = *static_cast<const Operands*>(lanes[lane]);
      const int g = lane / 4, first = 2 * (lane % 4);
      for (int i = 0; i < 2; ++i) {
        for (int half = 0; half < 2; ++half) {
          const int k = first + i + half * 8;
          a_tile[g][k] = Values::get(from.a[2 * half], i);
          a_tile[g + 8][k] = Values::get(from.a[2 * half + 1], i);
          b_tile[k][g] = Values::get(from.b[half], i);
        }
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      const auto& to = *static_cast<const Operands*>(lanes[lane]);
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 4 + i / 2 * 8, column = 2 * (lane % 4) + i % 2;
        for (int k = 0; k < kDepth; ++k) to.c[i] += a_tile[row][k] * b_tile[k][column];
      }
    }
  };
  cuda_emulator::meet_warp(0xFFFFFFFFU, &mine, combine, what, site);
}

struct MatrixRows {
  const void* row;
  uint32_t* r;
};

template <bool kTurned>
void load_four_matrices(uint32_t (&r)[4], const void* row, Site site) {
  expect_aligned(row, 16, "ldmatrix");
  MatrixRows mine{row, r};
  const auto combine = [](void* const* lanes) {
    for (int lane = 0; lane < 32; ++lane) {
      const auto& to = *static_cast<const MatrixRows*>(lanes[lane]);
      for (int matrix = 0; matrix < 4; ++matrix) {
        uint16_t pair[2];
        for (int i = 0; i < 2; ++i) {
          int y = lane / 4, x = 2 * (lane % 4) + i;
          if (kTurned) std::swap(y, x);
          const auto& from = *static_cast<const MatrixRows*>(lanes[8 * matrix + y]);
          std::memcpy(&pair[i], static_cast<const unsigned char*>(from.row) + 2 * x, 2);
        }
        to.r[matrix] = uint32_t{pair[1]} << 16 | pair[0];
      }
    }
  };
  cuda_emulator::meet_warp(0xFFFFFFFFU, &mine, combine, "ldmatrix", site);
}

// --- the functions of the header -----------------------------------------------------------------------------------------
inline void load_matrices(uint32_t (&r)[4], const void* row, Site site = Site::current()) {
  load_four_matrices<false>(r, row, site);
}
inline void load_matrices_turned(uint32_t (&r)[4], const void* row, Site site = Site::current()) {
  load_four_matrices<true>(r, row, site);
}
inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                          Site site = Site::current()) {
  multiply<Bf16Values>(c, a, b0, b1, "mma bf16", site);
}
inline void multiply_half(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                          Site site = Site::current()) {
  multiply<HalfValues>(c, a, b0, b1, "mma half", site);
}

}  // namespace lexel::kernels::cuda::ptx
