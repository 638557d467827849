// A few rows against all codes, in float32: calls with few rows, and the rows that codebook_candidates.h could not decide, whose
// number is known on the device only.
//
// The work is cut into (8 rows) x (a part of the codes); a fixed number of blocks shares it. The best of a part goes into the
// row's key by an atomic maximum, which no order changes; who finishes the last part of 8 rows writes their results.

#include <algorithm>

#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/codebook_score.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = CodebookScan::kRows;  // they share the reading of the codes

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

/// Orders as score, then the lowest code; 0 is below all.
__device__ __forceinline__ unsigned long long key_of(float score, int code) {
  const unsigned bits = __float_as_uint(score + 0.0F);  // -0 becomes 0: they are equal
  const unsigned ordered = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return static_cast<unsigned long long>(ordered) << 32 | static_cast<unsigned>(kNoCode - code);
}

__device__ __forceinline__ float score_of(unsigned long long key) {
  const auto ordered = static_cast<unsigned>(key >> 32);
  return __uint_as_float((ordered & 0x80000000U) != 0 ? ordered & 0x7FFFFFFFU : ~ordered);
}

/// Best of codes begin .. end-1 of a book for rows number first .. first + num - 1 of the list, all of that book.
__device__ __forceinline__ void scan_part(const CodebookLookupArguments& a, const CodebookScan& s,
                                          int64_t first, int num, int64_t book, int64_t begin,
                                          int64_t end, float* rows) {
  __syncthreads();
  for (int64_t i = threadIdx.x; i < kRows * a.width; i += kThreads) {
    const int64_t r = i / a.width;
    const int64_t row = r >= num ? 0 : s.list == nullptr ? first + r : s.list[first + r];
    rows[i] = r < num ? a.rows[row * a.width + i % a.width] : 0.0F;
  }
  __syncthreads();

  float best[kRows];
  int best_code[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    best[r] = -INFINITY;
    best_code[r] = kNoCode;
  }
  for (int64_t code = begin + threadIdx.x; code < end; code += kThreads) {
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
    if (threadIdx.x % kWarp == 0 && r < num && best_code[r] != kNoCode) {
      atomicMax(s.keys + first + r, key_of(best[r], best_code[r]));
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    scan_rows(CodebookLookupArguments a, CodebookScan s, int64_t part_codes) {
  __shared__ unsigned parts_done;
  float* const rows = ptx::dynamic_shared<float>();  // (kRows, D)
  const int64_t count = s.count == nullptr ? a.num_books * a.num_rows : *s.count;
  const int64_t num_parts = (a.num_codes + part_codes - 1) / part_codes;
  const int64_t num_groups = (count + kRows - 1) / kRows;
  for (int64_t item = blockIdx.x; item < num_groups * num_parts; item += gridDim.x) {
    const int64_t group = item / num_parts, begin = item % num_parts * part_codes;
    const int64_t end = min(begin + part_codes, a.num_codes);
    const int64_t group_end = min((group + 1) * kRows, count);
    for (int64_t first = group * kRows; first < group_end;) {  // rows of one book at a time
      const auto book_of = [&](int64_t i) {
        return (s.list == nullptr ? i : s.list[i]) / a.num_rows;
      };
      const int64_t book = book_of(first);
      int num = 1;
      while (first + num < group_end && book_of(first + num) == book) ++num;
      scan_part(a, s, first, num, book, begin, end, rows);
      first += num;
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) parts_done = atomicAdd(s.done + group, 1U) + 1;
    __syncthreads();
    if (parts_done != static_cast<unsigned>(num_parts)) continue;
    __threadfence();
    const int half = static_cast<int>(threadIdx.x) / kFinishLanes;  // half a warp a row
    const int64_t i = group * kRows + half;
    if (half < kRows && i < group_end) {
      const unsigned long long key = __ldcg(s.keys + i);
      finish_result(
          a, s.list == nullptr ? i : s.list[i], 0, kNoCode - static_cast<int>(key & 0xFFFFFFFFU),
          key == 0 ? -INFINITY : score_of(key), half % 2 == 0 ? 0x0000FFFFU : 0xFFFF0000U);
    }
  }
}

}  // namespace

void launch_scan(const CodebookLookupArguments& arguments, const CodebookScan& scan,
                 int multiprocessors, Stream stream) {
  constexpr int kBlocksEach = 4;
  // A list may be long: larger parts read each row less often. All rows: as many blocks as there can be.
  const int64_t part_codes = scan.list == nullptr ? kThreads : 8 * kThreads;
  const int64_t parts = (arguments.num_codes + part_codes - 1) / part_codes;
  const int64_t groups = (arguments.num_books * arguments.num_rows + kRows - 1) / kRows;
  const int64_t blocks = std::min<int64_t>(int64_t{multiprocessors} * kBlocksEach, groups * parts);
  LaunchShape shape{static_cast<unsigned>(blocks), kThreads};
  shape.shared_bytes = static_cast<std::size_t>(kRows * arguments.width) * sizeof(float);
  launch("scan_rows", scan_rows, shape, stream, arguments, scan, part_codes);
}

}  // namespace lexel::kernels::cuda
