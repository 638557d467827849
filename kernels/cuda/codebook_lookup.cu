// Nearest code of each row, distance and argmax fused: the N x K scores never reach memory.
//
// A block of 16 x 16 threads owns kTile rows and goes through all codes, kTile at a time; a thread keeps 4 x 4 sums
// (begun with the bias, see code_bias) and the best score and code of its 4 rows. A thread meets its codes
// in rising order and takes strictly better ones only, so the lowest index keeps a tie. Sums run over d in
// order: equal codes get equal scores.

#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kSide = 16;  // threads per side of a block
constexpr int kPer = 4;    // rows, and codes, of a thread
constexpr int kTile = kSide * kPer;
constexpr int kDepth = 16;         // widths in shared memory at a time
constexpr int kPitch = kTile + 4;  // keeps float4 aligned and spreads the banks
constexpr int kWarp = 32;

/// 0 (dot product) or -|c|^2 / 2 (L2); -inf for a code that is not finite, so that its score is -inf or NaN and never
/// greater than another. One warp a code.
__global__ void code_bias(CodebookLookupArguments a) {
  const int64_t code = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp;
  if (code >= a.num_codes) return;
  double squares = 0.0;
  for (int64_t d = threadIdx.x % kWarp; d < a.width; d += kWarp) {
    const double value = a.codes[code * a.width + d];
    squares += value * value;
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    squares += __shfl_xor_sync(0xffffffffU, squares, offset);
  }
  if (threadIdx.x % kWarp == 0) {
    a.bias[code] = !isfinite(squares) ? -INFINITY
                   : a.l2             ? static_cast<float>(-0.5 * squares)
                                      : 0.0F;
  }
}

/// Copies widths d .. d + kDepth - 1 of kTile rows of a (count, width) matrix, from row `first`, turned; zeros outside.
__device__ void load_tile(const float* matrix, int64_t first, int64_t count, int64_t width,
                          int64_t d, float (&tile)[kDepth][kPitch]) {
  const int thread = static_cast<int>(threadIdx.y * kSide + threadIdx.x);
  for (int i = thread; i < kTile * kDepth; i += kSide * kSide) {
    const int64_t row = first + i / kDepth;
    const int64_t column = d + i % kDepth;
    const bool inside = row < count && column < width;
    tile[i % kDepth][i / kDepth] = inside ? matrix[row * width + column] : 0.0F;
  }
}

__global__ void __launch_bounds__(kSide* kSide) nearest_code(CodebookLookupArguments a) {
  __shared__ __align__(16) float rows[kDepth][kPitch];
  __shared__ __align__(16) float codes[kDepth][kPitch];
  const int64_t first_row = int64_t{blockIdx.x} * kTile;
  float best[kPer];
  int64_t best_code[kPer];
  for (int i = 0; i < kPer; ++i) {
    best[i] = -INFINITY;
    best_code[i] = 0;
  }

  for (int64_t first_code = 0; first_code < a.num_codes; first_code += kTile) {
    const int64_t my_code = first_code + threadIdx.x * kPer;
    float sums[kPer][kPer];
    for (int j = 0; j < kPer; ++j) {
      const float bias = my_code + j < a.num_codes ? a.bias[my_code + j] : -INFINITY;
      for (int i = 0; i < kPer; ++i) sums[i][j] = bias;
    }
    for (int64_t d = 0; d < a.width; d += kDepth) {
      __syncthreads();
      load_tile(a.rows, first_row, a.num_rows, a.width, d, rows);
      load_tile(a.codes, first_code, a.num_codes, a.width, d, codes);
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
      for (int i = 0; i < kPer; ++i) {
        if (sums[i][j] > best[i]) {  // false for NaN
          best[i] = sums[i][j];
          best_code[i] = my_code + j;
        }
      }
    }
  }

  // The 16 threads of one threadIdx.y share their rows and are half a warp.
  for (int i = 0; i < kPer; ++i) {
    for (int offset = kSide / 2; offset > 0; offset /= 2) {
      const float other = __shfl_xor_sync(0xffffffffU, best[i], offset, kSide);
      const int64_t other_code = __shfl_xor_sync(0xffffffffU, best_code[i], offset, kSide);
      if (other > best[i] || (other == best[i] && other_code < best_code[i])) {
        best[i] = other;
        best_code[i] = other_code;
      }
    }
    const int64_t row = first_row + threadIdx.y * kPer + i;
    if (threadIdx.x != 0 || row >= a.num_rows) continue;
    if (!isfinite(best[i])) {  // the row, or every code, is not finite
      a.ids[row] = 0;
      a.score[row] = NAN;
      continue;
    }
    float score = best[i];
    if (a.l2) {  // the sum above lost digits to |c|^2; the distance itself does not
      score = 0.0F;
      for (int64_t d = 0; d < a.width; ++d) {
        const float difference = a.rows[row * a.width + d] - a.codes[best_code[i] * a.width + d];
        score = fmaf(difference, difference, score);
      }
    }
    a.ids[row] = best_code[i];
    a.score[row] = score;
  }
}

}  // namespace

void launch_codebook_lookup(const CodebookLookupArguments& arguments, Stream stream) {
  if (arguments.num_rows == 0) return;
  constexpr int kBiasThreads = 256;
  const int64_t bias_blocks = (arguments.num_codes * kWarp + kBiasThreads - 1) / kBiasThreads;
  launch("code_bias", code_bias, {static_cast<unsigned>(bias_blocks), kBiasThreads}, stream,
         arguments);
  const int64_t blocks = (arguments.num_rows + kTile - 1) / kTile;
  launch("nearest_code", nearest_code, {static_cast<unsigned>(blocks), dim3(kSide, kSide)}, stream,
         arguments);
}

}  // namespace lexel::kernels::cuda
