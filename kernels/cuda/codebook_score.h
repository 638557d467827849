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
