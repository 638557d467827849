#pragma once

// For the .cu files of attention only: tiles in shared memory, products of a warp's rows with a tile, and the mask bits of a
// warp's rows.
//
// A warp owns 16 rows of a block's row tile and walks over the column tiles. Its scores lie as mma.sync leaves them: lane l holds
// of each 16 x 8 piece the rows l / 4 and l / 4 + 8, the columns 2 (l % 4) and 2 (l % 4) + 1, as [row half][column].

#include <cmath>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/ptx/async_copy.h"
#include "kernels/cuda/ptx/exp2.h"
#include "kernels/cuda/ptx/mma.h"
#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda {

constexpr int kWarp = 32;
constexpr int kWarpRows = 16;
constexpr uint32_t kAllLanes = 0xffffffffU;
constexpr float kLog2OfE = 1.4426950408889634F;
constexpr float kLogOf2 = 0.6931471805599453F;

/// What a kernel reads of AttentionSizes, in 32-bit numbers.
struct AttentionProblem {
  TileMask mask;
  int32_t queries, keys, width, heads, key_heads;
  float scale;  // 1 / sqrt(d)
  const bool* key_mask;
};

/// What lies along the rows of a tile of scores; along its columns lies the other.
enum class RowsAre { kQueries, kKeys };

template <RowsAre kRowsAre>
__device__ inline TileView view_of(const AttentionProblem& p, int first_row, int last_row,
                                   int first_column, int last_column) {
  return kRowsAre == RowsAre::kQueries
             ? p.mask.view(first_row, last_row, first_column, last_column)
             : p.mask.view(first_column, last_column, first_row, last_row);
}

/// The tiles of kColumns columns that hold something seen of the rows first_row .. first_row + rows - 1, one after another:
/// tiles of keys; or, of each query head that reads these keys, tiles of queries.
template <RowsAre kRowsAre, int kColumns>
struct ColumnTiles {
  const AttentionProblem& p;
  int first_row, last_row, begin, end;
  int tile;
  int member = 0;  // which of the query heads that read these keys

  __device__ ColumnTiles(const AttentionProblem& problem, int first, int rows)
      : p(problem), first_row(first) {
    constexpr bool kQueries = kRowsAre == RowsAre::kQueries;
    last_row = min(first + rows, kQueries ? p.queries : p.keys) - 1;
    const TileMask::Range range = kQueries ? p.mask.keys_of(first_row, last_row, p.keys)
                                           : p.mask.queries_of(first_row, last_row, p.queries);
    begin = tile = range.first / kColumns;
    end = (range.end + kColumns - 1) / kColumns;
    skip();
  }
  __device__ bool left() const { return member < members(); }
  __device__ int first_column() const { return tile * kColumns; }
  __device__ void advance() {
    ++tile;
    skip();
  }

 private:
  __device__ int members() const {
    return kRowsAre == RowsAre::kQueries ? 1 : p.heads / p.key_heads;
  }
  __device__ void skip() {
    for (; left(); ++member, tile = begin) {
      for (; tile < end; ++tile) {
        if (view_of<kRowsAre>(p, first_row, last_row, first_column(),
                              first_column() + kColumns - 1) != TileView::kNone) {
          return;
        }
      }
    }
  }
};

/// bfloat16 parts of a value: one of a bfloat16, three of a float32 (8 bits of the 24 each).
template <class T>
constexpr int kPartsOf = sizeof(T) == 4 ? 3 : 1;

/// The parts of two values, each pair as an mma operand (`first` in the low half).
template <int kParts>
__device__ inline void split(float first, float second, uint32_t (&parts)[kParts]) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    parts[part] = ptx::pack_bf16(first, second);
    first -= __uint_as_float(parts[part] << 16);
    second -= __uint_as_float(parts[part] & 0xffff0000U);
  }
}

/// A tile of kRows rows of kWidth values in shared memory, as kParts planes of bfloat16. The 16-byte chunks of a row are
/// permuted so that the eight rows which ldmatrix reads at a time lie in different banks.
template <int kParts, int kRows, int kWidth>
struct Tile {
  static constexpr int kChunks = kWidth / 8;
  static constexpr std::size_t kBytes =
      std::size_t{kParts} * kRows * kWidth * sizeof(__nv_bfloat16);

  __nv_bfloat16* data;

  __device__ __nv_bfloat16* at(int part, int row, int chunk) const {
    const int turn = kChunks >= 8 ? row % 8 : row / 2 % 4;
    return data + (part * kRows + row) * kWidth + (chunk ^ turn) * 8;
  }

  /// Begins to copy rows first .. first + kRows - 1 of a matrix of `count` rows and `width` columns; zeros outside. bfloat16
  /// arrives when copies committed after it have (wait_for_copies), float32 at once; then the block synchronises.
  template <class T, int kThreads>
  __device__ void load(const T* matrix, int64_t row_stride, int first, int count, int width) const {
    static_assert(kPartsOf<T> == kParts);
#pragma unroll kParts == 1 ? 2 : 1
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const bool inside = first + row < count && chunk * 8 < width;
      const T* const from = matrix + (inside ? (first + row) * row_stride + chunk * 8 : 0);
      if constexpr (kParts == 1) {
        ptx::start_copy_16(at(0, row, chunk), from, inside);
      } else {
        const float4 zero = make_float4(0, 0, 0, 0);
        const float4 low = inside ? reinterpret_cast<const float4*>(from)[0] : zero;
        const float4 high = inside ? reinterpret_cast<const float4*>(from)[1] : zero;
        uint32_t words[4][kParts];
        split<kParts>(low.x, low.y, words[0]);
        split<kParts>(low.z, low.w, words[1]);
        split<kParts>(high.x, high.y, words[2]);
        split<kParts>(high.z, high.w, words[3]);
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          *reinterpret_cast<uint4*>(at(part, row, chunk)) =
              make_uint4(words[0][part], words[1][part], words[2][part], words[3][part]);
        }
      }
    }
  }
};

/// sum += a b over the pairs of parts that matter, small ones first: the first operand's part i times the second's j, i + j <
/// kParts. b holds an 8-column piece in each half.
template <int kParts>
__device__ inline void multiply_parts(float (&left)[4], float (&right)[4],
                                      const uint32_t (&a)[kParts][4],
                                      const uint32_t (&b)[kParts][4]) {
#pragma unroll
  for (int sum = kParts - 1; sum >= 0; --sum) {
#pragma unroll
    for (int i = 0; i <= sum; ++i) {
      ptx::multiply_bf16(left, a[i], b[sum - i][0], b[sum - i][1]);
      ptx::multiply_bf16(right, a[i], b[sum - i][2], b[sum - i][3]);
    }
  }
}

/// scores = rows first_row .. first_row + 15 of `a` times all rows of `b`, transposed.
template <int kParts, int kRows, int kColumns, int kWidth>
__device__ inline void multiply_rows(float (&scores)[kColumns / 8][4],
                                     const Tile<kParts, kRows, kWidth>& a, int first_row,
                                     const Tile<kParts, kColumns, kWidth>& b) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = 0.0F;
  }
#pragma unroll kWidth> 64 ? 2 : 4  // all eight steps at once cost too many registers
  for (int step = 0; step < kWidth / 16; ++step) {
    uint32_t a_parts[kParts][4];
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      ptx::load_matrices(a_parts[part], a.at(part, first_row + lane % 16, step * 2 + lane / 16));
    }
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b_parts[kParts][4];
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        ptx::load_matrices(b_parts[part],
                           b.at(part, n * 16 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2));
      }
      multiply_parts<kParts>(scores[2 * n], scores[2 * n + 1], a_parts, b_parts);
    }
  }
}

/// sums += weights (16 x kColumns, as scores lie) times `b`.
template <int kParts, int kColumns, int kWidth>
__device__ inline void accumulate(float (&sums)[kWidth / 8][4],
                                  const float (&weights)[kColumns / 8][4],
                                  const Tile<kParts, kColumns, kWidth>& b) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    uint32_t a_parts[kParts][4];
#pragma unroll
    for (int i = 0; i < 4;
         ++i) {  // rows l / 4, then + 8; columns of the first piece, then of the second
      const float* const pair = &weights[2 * step + i / 2][i % 2 * 2];
      uint32_t words[kParts];
      split<kParts>(pair[0], pair[1], words);
#pragma unroll
      for (int part = 0; part < kParts; ++part) a_parts[part][i] = words[part];
    }
#pragma unroll
    for (int n = 0; n < kWidth / 16; ++n) {
      uint32_t b_parts[kParts][4];
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        ptx::load_matrices_turned(b_parts[part],
                                  b.at(part, step * 16 + lane % 16, n * 2 + lane / 16));
      }
      multiply_parts<kParts>(sums[2 * n], sums[2 * n + 1], a_parts, b_parts);
    }
  }
}

/// Bit i of the result: whether lane-wise `bit(i)` holds, for i < kBits <= 96; every lane gets all. All lanes call it.
template <int kBits, class Bit>
__device__ inline void gather_bits(uint32_t (&words)[3], const Bit& bit) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int word = 0; word < 3; ++word) {
    words[word] = word * kWarp < kBits ? __ballot_sync(kAllLanes, bit(word * kWarp + lane)) : 0U;
  }
}

/// Bits shift .. shift + 63 of 96, shift < 32.
__device__ inline uint64_t window_of(const uint32_t (&words)[3], int shift) {
  const uint64_t low = words[0] | uint64_t{words[1]} << 32,
                 high = words[1] | uint64_t{words[2]} << 32;
  return (low >> shift & 0xffffffffULL) | (high >> shift & 0xffffffffULL) << 32;
}

__device__ inline bool is_real_key(const AttentionProblem& p, const bool* key_mask, int key) {
  return key < p.keys && (key_mask == nullptr || key_mask[key]);
}

/// What a lane sees of its 16 x kColumns scores: of the row l / 4 + 8 half, bit c says whether column c counts.
struct SeenBits {
  uint64_t of_half[2];
};

/// Rows are queries first_query .., columns keys first_key ...
template <int kColumns>
__device__ inline SeenBits seen_keys(const AttentionProblem& p, const bool* key_mask,
                                     int first_query, int first_key) {
  uint32_t by_offset[3], seen[3], prefix[3];
  // Row r, column c: bit c + 15 - r, of the offset first_query + r - first_key - c.
  gather_bits<kColumns + 15>(
      by_offset, [&](int bit) { return p.mask.allows_offset(first_query + 15 - first_key - bit); });
  gather_bits<kColumns>(seen, [&](int bit) { return is_real_key(p, key_mask, first_key + bit); });
  gather_bits<kColumns>(prefix, [&](int bit) { return first_key + bit < p.mask.prefix; });
  const int row = static_cast<int>(threadIdx.x) % kWarp / 4;
  SeenBits result;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    result.of_half[half] =
        (window_of(by_offset, 15 - row - 8 * half) | window_of(prefix, 0)) & window_of(seen, 0);
  }
  return result;
}

/// Rows are keys first_key .., columns queries first_query ...
template <int kColumns>
__device__ inline SeenBits seen_by_queries(const AttentionProblem& p, const bool* key_mask,
                                           int first_key, int first_query) {
  uint32_t by_offset[3];
  // Row r, column c: bit c + 15 - r, of the offset first_query + c - first_key - r.
  gather_bits<kColumns + 15>(
      by_offset, [&](int bit) { return p.mask.allows_offset(first_query - 15 - first_key + bit); });
  const int row = static_cast<int>(threadIdx.x) % kWarp / 4;
  SeenBits result;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key = first_key + row + 8 * half;
    const uint64_t all = ~uint64_t{0};
    result.of_half[half] =
        is_real_key(p, key_mask, key)
            ? window_of(by_offset, 15 - row - 8 * half) | (key < p.mask.prefix ? all : 0)
            : 0;
  }
  return result;
}

/// Writes -infinity over the scores of a warp's 16 rows that do not count.
template <RowsAre kRowsAre, int kColumns>
__device__ inline void hide_unseen(float (&scores)[kColumns / 8][4], const AttentionProblem& p,
                                   const bool* key_mask, int first_row, int first_column) {
  constexpr bool kQueries = kRowsAre == RowsAre::kQueries;
  const TileView view = view_of<kRowsAre>(p, first_row, first_row + kWarpRows - 1, first_column,
                                          first_column + kColumns - 1);
  const int end_key = kQueries ? first_column + kColumns : first_row + kWarpRows;
  if (view == TileView::kAll && key_mask == nullptr && end_key <= p.keys) return;
  constexpr int kPart = kColumns < 64 ? kColumns : 64;  // SeenBits are of 64 columns
#pragma unroll
  for (int part = 0; part < kColumns; part += kPart) {
    SeenBits seen;
    if constexpr (kQueries) {
      seen = seen_keys<kPart>(p, key_mask, first_row, first_column + part);
    } else {
      seen = seen_by_queries<kPart>(p, key_mask, first_row, first_column + part);
    }
    const int column = static_cast<int>(threadIdx.x) % 4 * 2;
    const uint64_t mine[2] = {seen.of_half[0] >> column, seen.of_half[1] >> column};
#pragma unroll
    for (int n = 0; n < kPart / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if ((mine[i / 2] >> (n * 8 + i % 2) & 1U) == 0) scores[part / 8 + n][i] = -INFINITY;
      }
    }
  }
}

/// The running softmax of a lane's rows l / 4 and l / 4 + 8; see Dao et al. 2022, algorithm 1.
struct RunningSoftmax {
  float best[2] = {-INFINITY, -INFINITY};  // maximum of the raw scores so far
  float total[2] = {0.0F, 0.0F};           // this lane's part of the sum of the weights

  /// Turns scores into weights 2^(scale (score - best)); `shrink` is what earlier weights, and sums with them, are multiplied
  /// by for the new maximum.
  template <int kPieces>
  __device__ void add(float (&scores)[kPieces][4], float scale, float (&shrink)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float maximum = best[half];
#pragma unroll
      for (int n = 0; n < kPieces; ++n) {
        maximum = fmaxf(maximum, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      }
      maximum = fmaxf(maximum, __shfl_xor_sync(kAllLanes, maximum, 1));
      maximum = fmaxf(maximum, __shfl_xor_sync(kAllLanes, maximum, 2));
      const float base = maximum == -INFINITY ? 0.0F : maximum * scale;
      shrink[half] = ptx::exp2_fast(fmaf(best[half], scale, -base));
      best[half] = maximum;
      float sum = 0.0F;
#pragma unroll
      for (int n = 0; n < kPieces; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[n][i] = ptx::exp2_fast(fmaf(scores[n][i], scale, -base));
          sum += scores[n][i];
        }
      }
      total[half] = fmaf(total[half], shrink[half], sum);
    }
  }

  /// The factors that make sums of weighted values means, 0 where no key is seen, and the rows' log_sum_exp.
  __device__ void finish(float scale, float (&factor)[2], float (&log_sum_exp)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      total[half] += __shfl_xor_sync(kAllLanes, total[half], 1);
      total[half] += __shfl_xor_sync(kAllLanes, total[half], 2);
      const bool none = total[half] == 0.0F;
      factor[half] = none ? 0.0F : 1.0F / total[half];
      log_sum_exp[half] = none ? -INFINITY : fmaf(best[half], scale, logf(total[half]));
    }
  }
};

/// Multiplies the rows l / 4 and l / 4 + 8.
template <int kPieces>
__device__ inline void scale_rows(float (&sums)[kPieces][4], const float (&factor)[2]) {
#pragma unroll
  for (int n = 0; n < kPieces; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[n][i] *= factor[i / 2];
  }
}

/// Stores a warp's 16 x kWidth sums, scaled by row, as rows of a (count, width) matrix from row `first`.
template <class T, int kWidth>
__device__ inline void store_rows(T* matrix, int64_t row_stride, int first, int count, int width,
                                  const float (&sums)[kWidth / 8][4], const float (&factors)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + 8 * half;
    if (row >= count) continue;
    T* const to = matrix + row * row_stride + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      if (n * 8 >= width) continue;
      const float x = sums[n][half * 2] * factors[half], y = sums[n][half * 2 + 1] * factors[half];
      if constexpr (sizeof(T) == 4) {
        *reinterpret_cast<float2*>(to + n * 8) = make_float2(x, y);
      } else {
        *reinterpret_cast<uint32_t*>(to + n * 8) = ptx::pack_bf16(x, y);
      }
    }
  }
}

/// Where head `head` of picture `batch` begins.
template <class T>
__device__ inline const T* head_of(const AttentionInput& tensor, int64_t batch, int64_t head) {
  return static_cast<const T*>(tensor.data) + batch * tensor.batch_stride +
         head * tensor.head_stride;
}
template <class T>
__device__ inline T* head_of(const AttentionOutput& tensor, int64_t batch, int64_t head) {
  return static_cast<T*>(tensor.data) + batch * tensor.batch_stride + head * tensor.head_stride;
}

/// Ends a forward pass of a warp's 16 queries from `first` of a head: the mean of the values, and log_sum_exp.
template <class T, int kWidth>
__device__ inline void store_means(const AttentionForwardArguments& a, const AttentionProblem& p,
                                   int64_t head_index, int first, RunningSoftmax& softmax,
                                   const float (&sums)[kWidth / 8][4]) {
  float factors[2], log_sum_exp[2];
  softmax.finish(p.scale, factors, log_sum_exp);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + lane / 4 + 8 * half;
    if (lane % 4 == 0 && query < p.queries) {
      a.log_sum_exp[head_index * p.queries + query] = log_sum_exp[half];
    }
  }
  store_rows<T, kWidth>(head_of<T>(a.out, head_index / p.heads, head_index % p.heads),
                        a.out.row_stride, first, p.queries, p.width, sums, factors);
}

inline AttentionProblem problem_of(const AttentionSizes& sizes) {
  const auto narrow = [](int64_t value) { return static_cast<int32_t>(value); };
  return {TileMask(sizes.mask, sizes.queries),
          narrow(sizes.queries),
          narrow(sizes.keys),
          narrow(sizes.width),
          narrow(sizes.heads),
          narrow(sizes.key_heads),
          1.0F / std::sqrt(static_cast<float>(sizes.width)),
          sizes.key_mask};
}

}  // namespace lexel::kernels::cuda
