#pragma once

// For the .cu files of the look-up: the parts that all its paths share, so that they give the same bits.
//
// The score that decides is float32: bias, then code and row multiplied and added from d = 0 on, each by one fma.

#include <cstdint>

#include "kernels/cuda/codebook_lookup.h"

namespace lexel::kernels::cuda {

constexpr int kWarp = 32;
constexpr int kFinishLanes = 16;  // lanes that finish_result shares a row among

/// Whether a score and its code come before another: of equal scores the lowest code. False for NaN.
__device__ __forceinline__ bool comes_before(float score, int code, float other, int other_code) {
  return score > other || (score == other && code < other_code);
}

/// The deciding scores of kCount pairs of a row and a code, side by side: the loads of all are under way together.
template <int kCount>
__device__ __forceinline__ void float32_scores(const float* const (&rows)[kCount],
                                               const float* const (&codes)[kCount], int64_t width,
                                               float (&scores)[kCount]) {
  if (width % 4 == 0) {
#pragma unroll 4
    for (int64_t d = 0; d < width; d += 4) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float4 x = *reinterpret_cast<const float4*>(rows[i] + d);
        const float4 c = *reinterpret_cast<const float4*>(codes[i] + d);
        scores[i] = fmaf(x.x, c.x, scores[i]);
        scores[i] = fmaf(x.y, c.y, scores[i]);
        scores[i] = fmaf(x.z, c.z, scores[i]);
        scores[i] = fmaf(x.w, c.w, scores[i]);
      }
    }
  } else {
    for (int64_t d = 0; d < width; ++d) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) scores[i] = fmaf(rows[i][d], codes[i][d], scores[i]);
    }
  }
}

/// A power of two that brings the largest value of a row, or of all codes, to 1..2: exact, and far from float16's ends.
__device__ __forceinline__ float power_of_two_scale(float largest) {
  const int exponent = static_cast<int>(__float_as_uint(largest) >> 23) - 127;
  return __uint_as_float(static_cast<unsigned>(max(127 - exponent, 1)) << 23);
}

/// Adds a value's part to |v|^2, and its float16 copy's error to |v - copy|^2.
__device__ __forceinline__ void add_residual(float value, float copy, float& norm,
                                             float& residual) {
  norm = fmaf(value, value, norm);
  residual = fmaf(value - copy, value - copy, residual);
}

/// Writes result `place` of a row (its number among all C N): the code whose deciding score was `score`; any score that is not
/// finite means that there is none. 16 neighbouring lanes call together, with the same arguments; mask names them.
__device__ __forceinline__ void finish_result(const CodebookLookupArguments& a, int64_t row,
                                              int place, int code, float score, unsigned mask) {
  const int lane = static_cast<int>(threadIdx.x + threadIdx.y * blockDim.x) % kFinishLanes;
  const int64_t book = row / a.num_rows;
  const bool found = isfinite(score);
  float value = score;
  if (a.l2 && found) {  // the deciding score lost digits to |c|^2; the distance itself does not
    const float* const x = a.rows + row * a.width;
    const float* const c = a.codes + (book * a.num_codes + code) * a.width;
    value = 0.0F;
    for (int64_t d = lane; d < a.width; d += kFinishLanes) {
      value = fmaf(x[d] - c[d], x[d] - c[d], value);
    }
    for (int offset = kFinishLanes / 2; offset > 0; offset /= 2) {
      value += __shfl_xor_sync(mask, value, offset, kFinishLanes);
    }
  }
  if (lane != 0) return;
  a.ids[row * a.top_k + place] = found ? code : 0;
  a.score[row * a.top_k + place] = found ? value : NAN;
  if (found && place == 0 && a.counts != nullptr) {  // integers: their order changes nothing
    atomicAdd(reinterpret_cast<unsigned long long*>(a.counts + book * a.num_codes + code), 1ULL);
  }
}

}  // namespace lexel::kernels::cuda
