// Nearest codes of each row in float32, distance and argmax fused: the N x K scores never reach memory. For small or odd
// sizes, top_k > 1, and devices without a path of their own.
//
// A block of 16 x 16 threads owns kTile rows and goes through all codes, kTile at a time; a thread keeps 4 x 4 sums
// (begun with the bias, codebook_codes.cu) and the best scores and codes of its 4 rows. A thread meets its codes
// in rising order and takes strictly better ones only, so the lowest index keeps a tie.

#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/codebook_score.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kSide = 16;  // threads per side of a block
constexpr int kPer = 4;    // rows, and codes, of a thread
constexpr int kTile = kSide * kPer;
constexpr int kDepth = 16;         // widths in shared memory at a time
constexpr int kPitch = kTile + 4;  // keeps float4 aligned and spreads the banks

/// Copies widths d .. d + kDepth - 1 of kTile rows of a (count, width) matrix, from row `first`, turned; zeros outside.
__device__ __forceinline__ void load_tile(const float* matrix, int64_t first, int64_t count,
                                          int64_t width, int64_t d, float (&tile)[kDepth][kPitch]) {
  constexpr int kQuads = kDepth / 4;
  const int thread = static_cast<int>(threadIdx.y * kSide + threadIdx.x);
  const int column = thread % kQuads * 4, place = thread / kQuads;
  const int64_t row = first + place;
  const float* const from = matrix + row * width + d + column;
  float4 values = {0.0F, 0.0F, 0.0F, 0.0F};
  if (row < count && width % 4 == 0) {
    if (d + column < width) values = *reinterpret_cast<const float4*>(from);
  } else if (row < count) {
    const int64_t left = width - d - column;
    if (left > 0) values.x = from[0];
    if (left > 1) values.y = from[1];
    if (left > 2) values.z = from[2];
    if (left > 3) values.w = from[3];
  }
  tile[column][place] = values.x;
  tile[column + 1][place] = values.y;
  tile[column + 2][place] = values.z;
  tile[column + 3][place] = values.w;
}

/// The best scores of one row that a thread has met, best first.
template <int kTop>
struct BestCodes {
  float score[kTop];
  int code[kTop];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kTop; ++i) {
      score[i] = -INFINITY;
      code[i] = kNoCode;
    }
  }

  __device__ __forceinline__ void insert(float new_score, int new_code) {
    if (!(new_score > score[kTop - 1])) return;  // also a NaN
    score[kTop - 1] = new_score;
    code[kTop - 1] = new_code;
#pragma unroll
    for (int i = kTop - 1; i > 0; --i) {
      if (!(score[i] > score[i - 1])) continue;
      const float lower = score[i - 1];
      const int lower_code = code[i - 1];
      score[i - 1] = score[i];
      code[i - 1] = code[i];
      score[i] = lower;
      code[i] = lower_code;
    }
  }

  __device__ __forceinline__ void drop_first() {
#pragma unroll
    for (int i = 0; i + 1 < kTop; ++i) {
      score[i] = score[i + 1];
      code[i] = code[i + 1];
    }
    score[kTop - 1] = -INFINITY;
    code[kTop - 1] = kNoCode;
  }
};

template <int kTop>
__global__ void __launch_bounds__(kSide* kSide) nearest_codes(CodebookLookupArguments a) {
  __shared__ __align__(16) float rows[kDepth][kPitch];
  __shared__ __align__(16) float codes[kDepth][kPitch];
  const int64_t row_blocks = (a.num_rows + kTile - 1) / kTile;
  const int64_t book = blockIdx.x / row_blocks;
  const int64_t first_row = blockIdx.x % row_blocks * kTile;
  const float* const book_rows = a.rows + book * a.num_rows * a.width;
  const float* const book_codes = a.codes + book * a.num_codes * a.width;
  const float* const bias = a.bias + book * a.num_codes;
  BestCodes<kTop> best[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) best[i].clear();

  for (int64_t first_code = 0; first_code < a.num_codes; first_code += kTile) {
    const int my_code = static_cast<int>(first_code + threadIdx.x * kPer);
    float sums[kPer][kPer];
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      const float start = my_code + j < a.num_codes ? bias[my_code + j] : -INFINITY;
#pragma unroll
      for (int i = 0; i < kPer; ++i) sums[i][j] = start;
    }
    for (int64_t d = 0; d < a.width; d += kDepth) {
      __syncthreads();
      load_tile(book_rows, first_row, a.num_rows, a.width, d, rows);
      load_tile(book_codes, first_code, a.num_codes, a.width, d, codes);
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kDepth; ++k) {
        const float4 x = *reinterpret_cast<const float4*>(&rows[k][threadIdx.y * kPer]);
        const float4 c = *reinterpret_cast<const float4*>(&codes[k][threadIdx.x * kPer]);
        const float xs[kPer] = {x.x, x.y, x.z, x.w};
        const float cs[kPer] = {c.x, c.y, c.z, c.w};
#pragma unroll
        for (int i = 0; i < kPer; ++i) {
#pragma unroll
          for (int j = 0; j < kPer; ++j) sums[i][j] = fmaf(xs[i], cs[j], sums[i][j]);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
#pragma unroll
      for (int i = 0; i < kPer; ++i) best[i].insert(sums[i][j], my_code + j);
    }
  }

  // The 16 threads of one threadIdx.y share their rows and are half a warp.
  const unsigned half = threadIdx.y % 2 == 0 ? 0x0000FFFFU : 0xFFFF0000U;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int64_t row = first_row + threadIdx.y * kPer + i;
    for (int place = 0; place < a.top_k; ++place) {
      float score = best[i].score[0];
      int code = best[i].code[0];
      for (int offset = kSide / 2; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(half, score, offset, kSide);
        const int other_code = __shfl_xor_sync(half, code, offset, kSide);
        if (comes_before(other, other_code, score, code)) {
          score = other;
          code = other_code;
        }
      }
      if (best[i].code[0] == code) best[i].drop_first();
      if (row < a.num_rows) {
        finish_result(a, book * a.num_rows + row, place, code, score, half);
      }
    }
  }
}

}  // namespace

void launch_nearest_codes(const CodebookLookupArguments& arguments, Stream stream) {
  const int64_t blocks = (arguments.num_rows + kTile - 1) / kTile * arguments.num_books;
  const auto kernel = arguments.top_k == 1   ? nearest_codes<1>
                      : arguments.top_k <= 4 ? nearest_codes<4>
                                             : nearest_codes<8>;
  launch("nearest_codes", kernel, {static_cast<unsigned>(blocks), dim3(kSide, kSide)}, stream,
         arguments);
}

}  // namespace lexel::kernels::cuda
