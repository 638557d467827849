#pragma once

// For the .cu files of the look-up on tensor cores: which codes can be a row's best, judged by float16 products, and the
// float32 look at those few.
//
// Let X and C be a row and a code, times powers of two, and x, c their float16 copies. Tensor cores give p = x . c up to the
// rounding of float32 sums, and by Cauchy and Schwarz |X . C - x . c| <= |X - x| |C| + |x| |C - c|; so with the largest
// norms of all codes each row has a margin m with |p - float32 score| <= m for every code, and a code whose p is more
// than 2 m below the largest p is not the best one. The residuals are measured, not estimated.
// (Where float32 products are below 2^-126 float32 knows less than the scaled float16 does; then winners may differ.)
//
// A thread meets, of each tile of 256 codes and each of its rows, four slots of 16 codes: in slot s codes 64 s + 8 i + 2 t and
// the next, i = 0..7, t the lane's place in its quad. Per score that costs one maximum; a slot keeps the best of these
// maxima with the tile it came from, and the second best, without its tile. In the end the winners are among the
// slots that reach (largest p of the row) - 2 m: their 16 codes are scored in float32. Where a second best reaches it too, its
// tile is not known: a hard row, which codebook_scan.cu compares with all codes. In float16 both are rare: of 8,192
// random codes of width 32 a row has 1.03 candidates and one row in 300 to 1,000 is hard (a model of this in numpy).

#include <cstdint>

#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/codebook_score.h"
#include "kernels/cuda/ptx/mma.h"

namespace lexel::kernels::cuda {

constexpr int kSlots = 4;  // of a thread, a row and a tile
constexpr unsigned kAllLanes = 0xFFFFFFFFU;

// Of a row, in place of its margin:
constexpr float kOutside = -1.0F;   // there is no such row
constexpr float kNoResult = -2.0F;  // the row is not finite, or no code may be chosen
constexpr float kHard = -3.0F;

/// A block's rows, in shared memory.
struct SharedRows {
  float* scale;   // see power_of_two_scale
  float* margin;  // m
  float* score;   // the best of the candidates so far
  int* code;
};

/// Eight values of a row from width d on; zeros after D.
__device__ __forceinline__ void load_octet(const float* row, int64_t width, int d,
                                           float (&values)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = 0.0F;
  if (width % 4 == 0) {
    if (d < width) {
      const float4 v = *reinterpret_cast<const float4*>(row + d);
      values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
    }
    if (d + 4 < width) {
      const float4 v = *reinterpret_cast<const float4*>(row + d + 4);
      values[4] = v.x, values[5] = v.y, values[6] = v.z, values[7] = v.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (d + i < width) values[i] = row[d + i];
    }
  }
}

/// Two neighbouring lanes (side 0 and 1) copy row `row` of the book into place `place` of the block's rows, and into row
/// `tile_row` of a tile of kTileRows rows: float16, laid out like CodeTiles.
template <int kTileRows>
__device__ __forceinline__ void load_row(const CodebookLookupArguments& a,
                                         const CodebookTensorScratch& t, int64_t book, int64_t row,
                                         int side, int place, int tile_row, uint16_t* tile,
                                         const SharedRows& rows) {
  const bool inside = row < a.num_rows;
  const float* const from = a.rows + (book * a.num_rows + row) * a.width;
  const CodeExtent& extent = t.extents[book];
  const int chunk_width = t.shape.chunk_width;
  const int octets = chunk_width * t.shape.num_chunks / 8;
  float values[8];
  float largest = 0.0F;
  int finite = 1;
  for (int octet = side; inside && octet < octets; octet += 2) {
    load_octet(from, a.width, octet * 8, values);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      largest = fmaxf(largest, fabsf(values[i]));
      finite &= isfinite(values[i]) ? 1 : 0;
    }
  }
  largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
  finite &= __shfl_xor_sync(kAllLanes, finite, 1);
  float scale = power_of_two_scale(largest);
  if (a.l2) {  // keeps the bias, which is scaled alike, away from infinity
    constexpr float kMost = 4096.0F;
    scale = fminf(scale, kMost * power_of_two_scale(__uint_as_float(extent.largest_value)));
  }

  float norm = 0.0F, residual = 0.0F;
  for (int octet = side; octet < octets; octet += 2) {
    const int d = octet * 8;
    if (inside && finite != 0) {
      load_octet(from, a.width, d, values);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = 0.0F;
    }
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float low = values[2 * i] * scale, high = values[2 * i + 1] * scale;
      packed[i] = ptx::pack_half(low, high);
      add_residual(low, ptx::half_value(packed[i], 0), norm, residual);
      add_residual(high, ptx::half_value(packed[i], 1), norm, residual);
    }
    uint16_t* const to = tile + d / chunk_width * (kTileRows * chunk_width) +
                         tile_row / 8 * (8 * chunk_width) + d % chunk_width * 8 + tile_row % 8 * 8;
    *reinterpret_cast<uint4*>(to) = make_uint4(packed[0], packed[1], packed[2], packed[3]);
  }
  norm += __shfl_xor_sync(kAllLanes, norm, 1);
  residual += __shfl_xor_sync(kAllLanes, residual, 1);
  if (side != 0) return;
  const float row_norm = sqrtf(norm), row_residual = sqrtf(residual);
  const float code_norm = __uint_as_float(extent.largest_norm);
  const float code_residual = __uint_as_float(extent.largest_residual);
  const float bias = a.l2 ? __uint_as_float(extent.largest_bias) * scale : 0.0F;
  // Sums: a term is cut off at 2^-22 of the largest partial sum at worst, in the tensor cores and in float32 alike, and at
  // 2^-126 if it is tiny. The norms themselves are right within 0.1 %.
  const float sums = (2 * static_cast<float>(a.width) + 64) * 0x1p-22F;
  const float margin =
      1.002F * (row_residual * code_norm + (row_norm + row_residual) * code_residual +
                sums * (row_norm * code_norm + bias)) +
      0x1p-110F;
  rows.scale[place] = scale;
  rows.margin[place] = !inside                                 ? kOutside
                       : finite == 0 || extent.substitute == 0 ? kNoResult
                                                               : margin;
  rows.score[place] = -INFINITY;
  rows.code[place] = kNoCode;
}

/// What a thread keeps of one row.
struct RowSlots {
  float best[kSlots], second[kSlots];
  int tile[kSlots];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      best[s] = second[s] = -INFINITY;
      tile[s] = 0;
    }
  }

  /// The 16 scores of a slot: d[4 i], d[4 i + 1]; L2 adds the bias of 64 codes, times the row's scale.
  template <bool kL2>
  __device__ __forceinline__ void meet(int s, int tile_number, const float* d, const float* bias,
                                       float scale, int t) {
    float top = -INFINITY;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      float low = d[4 * i], high = d[4 * i + 1];
      if constexpr (kL2) {
        const float2 add = *reinterpret_cast<const float2*>(bias + 8 * i + 2 * t);
        low = fmaf(add.x, scale, low);
        high = fmaf(add.y, scale, high);
      }
      top = fmaxf(top, fmaxf(low, high));
    }
    second[s] = fmaxf(second[s], fminf(best[s], top));
    tile[s] = top > best[s] ? tile_number : tile[s];
    best[s] = fmaxf(best[s], top);
  }
};

/// One candidate: 16 codes for one row.
__device__ __forceinline__ unsigned candidate_of(int place, int tile, int s, int t) {
  return static_cast<unsigned>(place) << 16 | static_cast<unsigned>(tile) << 4 |
         static_cast<unsigned>(s) << 2 | static_cast<unsigned>(t);
}

/// After the last tile: adds the candidates of row `place` (of this lane, and its quad) to the warp's list.
__device__ __forceinline__ void list_candidates(const RowSlots& slots, int place,
                                                const SharedRows& rows, unsigned* list,
                                                int& count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float most = -INFINITY, second = -INFINITY;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    most = fmaxf(most, slots.best[s]);
    second = fmaxf(second, slots.second[s]);
  }
  for (int offset = 1; offset < 4; offset *= 2) {
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, offset));
    second = fmaxf(second, __shfl_xor_sync(kAllLanes, second, offset));
  }
  const float margin = rows.margin[place];
  const float threshold = most - 2.0F * margin;
  const bool hard = margin >= 0 && !(second < threshold);  // also where the margin is infinite
  __syncwarp();
  if ((hard || !(margin == margin)) && lane % 4 == 0) rows.margin[place] = kHard;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    const bool is_candidate = margin >= 0 && !hard && slots.best[s] >= threshold;
    const unsigned lanes = __ballot_sync(kAllLanes, is_candidate);
    if (is_candidate) {
      list[count + __popc(lanes & ((1U << lane) - 1))] =
          candidate_of(place, slots.tile[s], s, lane % 4);
    }
    count += __popc(lanes);
  }
}

/// Scores the listed candidates in float32, half a warp two at a time, a lane one code of each; keeps the best of each row.
__device__ __forceinline__ void score_candidates(const CodebookLookupArguments& a, int64_t book,
                                                 int64_t first_row, const unsigned* list, int count,
                                                 const SharedRows& rows) {
  constexpr int kAtOnce = 2;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, half = lane / 16;
  const float* const book_rows = a.rows + (book * a.num_rows + first_row) * a.width;
  const float* const book_codes = a.codes + book * a.num_codes * a.width;
  __syncwarp();
  for (int first = 0; first < count; first += 2 * kAtOnce) {
    int place[kAtOnce], code[kAtOnce];
    const float *row_at[kAtOnce], *code_at[kAtOnce];
    float score[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const unsigned candidate = list[min(first + 2 * i + half, count - 1)];
      place[i] = static_cast<int>(candidate >> 16);
      code[i] = static_cast<int>(candidate >> 4 & 0xFFFU) * CodeTiles::kCodes +
                static_cast<int>(candidate >> 2 & 3U) * 64 + lane % 16 / 2 * 8 +
                static_cast<int>(candidate & 3U) * 2 + lane % 2;
      const int64_t safe = code[i] < a.num_codes ? code[i] : 0;  // past the last there is none
      row_at[i] = book_rows + place[i] * a.width;
      code_at[i] = book_codes + safe * a.width;
      score[i] = code[i] < a.num_codes ? a.bias[book * a.num_codes + safe] : -INFINITY;
    }
    float32_scores(row_at, code_at, a.width, score);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      for (int offset = 8; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(kAllLanes, score[i], offset);
        const int other_code = __shfl_xor_sync(kAllLanes, code[i], offset);
        if (comes_before(other, other_code, score[i], code[i]) || !(score[i] == score[i])) {
          score[i] = other;
          code[i] = other_code;
        }
      }
      for (int turn = 0; turn < 2; ++turn) {  // the halves may have the same row
        if (lane == 16 * turn &&
            comes_before(score[i], code[i], rows.score[place[i]], rows.code[place[i]])) {
          rows.score[place[i]] = score[i];
          rows.code[place[i]] = code[i];
        }
        __syncwarp();
      }
    }
  }
}

/// Writes the results of 16 rows from `place` on, half a warp one row at a time; lists the hard ones.
__device__ __forceinline__ void finish_rows(const CodebookLookupArguments& a,
                                            const CodebookTensorScratch& t, int64_t book,
                                            int64_t first_row, int place, const SharedRows& rows) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const unsigned half = lane < 16 ? 0x0000FFFFU : 0xFFFF0000U;
  for (int i = place + lane / 16; i < place + 16; i += 2) {
    const float margin = rows.margin[i];
    if (margin == kOutside) continue;
    const int64_t row = book * a.num_rows + first_row + i;
    if (margin == kHard) {
      if (lane % 16 == 0) t.hard_rows[atomicAdd(t.num_hard, 1U)] = row;
    } else {
      finish_result(a, row, 0, rows.code[i], rows.score[i], half);
    }
  }
}

}  // namespace lexel::kernels::cuda
