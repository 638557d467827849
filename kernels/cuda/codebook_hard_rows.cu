// The rows that codebook_candidates.h could not decide: compared with all codes, in float32. Their number is known on the device
// only, so a fixed number of blocks shares them.

#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/codebook_score.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 8;  // at a time: they share the reading of the codes

/// Scores of kRows rows in shared memory, (kRows, D), for one code; term by term as float32_score.
__device__ __forceinline__ void score_rows(const float* rows, const float* code, float bias,
                                           int64_t width, float (&score)[kRows]) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) score[r] = bias;
  if (width % 4 == 0) {
    for (int64_t d = 0; d < width; d += 4) {
      const float4 c = *reinterpret_cast<const float4*>(code + d);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float4 x = *reinterpret_cast<const float4*>(rows + r * width + d);
        score[r] = fmaf(x.x, c.x, score[r]);
        score[r] = fmaf(x.y, c.y, score[r]);
        score[r] = fmaf(x.z, c.z, score[r]);
        score[r] = fmaf(x.w, c.w, score[r]);
      }
    }
  } else {
    for (int64_t d = 0; d < width; ++d) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) score[r] = fmaf(rows[r * width + d], code[d], score[r]);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    hard_rows(CodebookLookupArguments a, CodebookTensorScratch t) {
  __shared__ float warp_score[kThreads / kWarp][kRows];
  __shared__ int warp_code[kThreads / kWarp][kRows];
  float* const rows = ptx::dynamic_shared<float>();  // (kRows, D)
  const int64_t count = *t.num_hard;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  int64_t taken = 0;
  for (int64_t first = int64_t{blockIdx.x} * kRows; first < count; first += taken) {
    // Up to kRows rows of one book; those of another one wait for the next turn of this block.
    const int64_t book = t.hard_rows[first] / a.num_rows;
    int num = 0;
    while (num < kRows && first + num < count && first % kRows + num < kRows &&
           t.hard_rows[first + num] / a.num_rows == book) {
      ++num;
    }
    taken = first % kRows + num == kRows || first + num >= count
                ? int64_t{gridDim.x} * kRows - first % kRows
                : num;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < kRows * a.width; i += kThreads) {
      const int64_t r = i / a.width;
      rows[i] = r < num ? a.rows[t.hard_rows[first + r] * a.width + i % a.width] : 0.0F;
    }
    __syncthreads();

    float best[kRows];
    int best_code[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      best[r] = -INFINITY;
      best_code[r] = kNoCode;
    }
    for (int64_t code = threadIdx.x; code < a.num_codes; code += kThreads) {
      float score[kRows];
      score_rows(rows, a.codes + (book * a.num_codes + code) * a.width,
                 a.bias[book * a.num_codes + code], a.width, score);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (score[r] > best[r]) {  // codes come in rising order; false for NaN
          best[r] = score[r];
          best_code[r] = static_cast<int>(code);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(0xFFFFFFFFU, best[r], offset);
        const int other_code = __shfl_xor_sync(0xFFFFFFFFU, best_code[r], offset);
        if (comes_before(other, other_code, best[r], best_code[r])) {
          best[r] = other;
          best_code[r] = other_code;
        }
      }
      if (threadIdx.x % kWarp == 0) {
        warp_score[warp][r] = best[r];
        warp_code[warp][r] = best_code[r];
      }
    }
    __syncthreads();
    const int r = static_cast<int>(threadIdx.x) / kFinishLanes;  // half a warp a row
    if (r < num) {
      float score = -INFINITY;
      int code = kNoCode;
      for (int w = 0; w < kThreads / kWarp; ++w) {
        if (comes_before(warp_score[w][r], warp_code[w][r], score, code)) {
          score = warp_score[w][r];
          code = warp_code[w][r];
        }
      }
      finish_result(a, t.hard_rows[first + r], 0, code, score,
                    r % 2 == 0 ? 0x0000FFFFU : 0xFFFF0000U);
    }
  }
}

}  // namespace

void launch_hard_rows(const CodebookLookupArguments& arguments,
                      const CodebookTensorScratch& scratch, int multiprocessors, Stream stream) {
  constexpr int kBlocksEach = 4;
  LaunchShape shape{static_cast<unsigned>(multiprocessors * kBlocksEach), kThreads};
  shape.shared_bytes = static_cast<std::size_t>(kRows * arguments.width) * sizeof(float);
  launch("hard_rows", hard_rows, shape, stream, arguments, scratch);
}

}  // namespace lexel::kernels::cuda
