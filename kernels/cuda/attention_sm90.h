#pragma once

// For the .cu files of attention for sm_90a: blocks of one warpgroup that copies and two that multiply, 64 rows each, with
// tiles in shared memory as products of warpgroups want them.

#include <algorithm>

#include "kernels/cuda/attention_fragments.h"
#include "kernels/cuda/ptx/barrier.h"
#include "kernels/cuda/ptx/wgmma.h"

namespace lexel::kernels::cuda {

constexpr int kGroup = 128;     // threads of a warpgroup
constexpr int kGroupRows = 64;  // rows of a warpgroup
constexpr int kConsumers = 2;   // warpgroups that own rows; the first one copies
constexpr int kConsumerWarps = kConsumers * kGroup / kWarp;
constexpr int kSm90Threads = (kConsumers + 1) * kGroup;
constexpr int kSm90Rows = kConsumers * kGroupRows;
// Registers of a thread that copies and of one that multiplies: 168 each at first, moved between them.
constexpr int kCopyingRegisters = 40, kMultiplyingRegisters = 232;

/// A tile of kRows rows: panels of 64 columns, each kRows rows of 128 swizzled bytes.
template <int kRows, int kWidth>
constexpr uint32_t kTileBytes = uint32_t{kRows} * kWidth * 2;
template <int kRows>
constexpr uint32_t kPanelBytes = kTileBytes<kRows, 64>;
constexpr uint32_t kEightRows = 8 * 128;  // bytes

/// A place in a ring: which stage, and the parity of its present phase.
template <int kStages>
struct Place {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// The copying warpgroup's part of rows first .. first + kRows - 1 of a matrix of `count` rows; zeros outside.
template <int kRows, int kWidth>
__device__ inline void copy_tile(unsigned char* tile, const __nv_bfloat16* matrix,
                                 int64_t row_stride, int first, int count, int width) {
  constexpr int kChunks = kWidth / 8;            // of 16 bytes, in a row
  constexpr int kRowsAtOnce = kGroup / kChunks;  // whole eights: a thread's rows are permuted alike
  static_assert(kRowsAtOnce % 8 == 0 && kRows % kRowsAtOnce == 0);
  const int thread = static_cast<int>(threadIdx.x) % kGroup;
  const int row = thread / kChunks, chunk = thread % kChunks;
  const int inside_rows = chunk * 8 < width ? count - first - row : 0;  // from this thread's first
  unsigned char* const to =
      tile + chunk / 8 * kPanelBytes<kRows> +
      ptx::swizzled<ptx::Swizzle::kSwizzle128>(static_cast<uint32_t>(row * 128 + chunk % 8 * 16));
  const __nv_bfloat16* from =
      matrix + (inside_rows > 0 ? (first + row) * row_stride + chunk * 8 : 0);
#pragma unroll 4
  for (int step = 0; step < kRows; step += kRowsAtOnce) {
    const bool inside = step < inside_rows;
    ptx::start_copy_16(to + step * 128, inside ? from : matrix, inside);
    from += kRowsAtOnce * row_stride;
  }
}

/// Waits for a tile that the copying warpgroup made.
__device__ inline void await_tile(ptx::Barrier* here, uint32_t parity) {
  ptx::wait_for(here, parity);
  ptx::fence_async_proxy();  // cp.async wrote it, the tensor cores read it
}

/// Says, once for each warp, that a tile is done with.
__device__ inline void release_tile(ptx::Barrier* free) {
  if (threadIdx.x % kWarp == 0) ptx::arrive(free);
}

template <int kPieces>
__device__ inline float (&flat(float (&pieces)[kPieces][4]))[kPieces * 4] {
  return reinterpret_cast<float(&)[kPieces * 4]>(pieces);
}

/// Starts scores = 64 rows (of a tile of kSm90Rows) times all rows of a tile of kColumns, transposed: one group.
template <int kWidth, int kColumns>
__device__ inline void start_scores(float (&scores)[kColumns / 8][4], const unsigned char* rows,
                                    const unsigned char* columns) {
  const auto a = ptx::shared_matrix<ptx::Swizzle::kSwizzle128>(rows, 16, kEightRows);
  const auto b = ptx::shared_matrix<ptx::Swizzle::kSwizzle128>(columns, 16, kEightRows);
  ptx::fence_products();
#pragma unroll
  for (uint32_t step = 0; step < kWidth / 16; ++step) {
    const uint32_t panel = step / 4, inner = step % 4 * 32;
    ptx::start_product<kColumns>(flat(scores), a.further(panel * kPanelBytes<kSm90Rows> + inner),
                                 b.further(panel * kPanelBytes<kColumns> + inner), step > 0);
  }
  ptx::close_product_group();
}

/// Starts sums += weights (64 x kColumns) times a tile of kColumns rows: one group.
template <int kWidth, int kColumns>
__device__ inline void start_sums(float (&sums)[kWidth / 8][4],
                                  uint32_t (&weights)[kColumns / 16][4],
                                  const unsigned char* columns) {
  const auto b =
      ptx::shared_matrix<ptx::Swizzle::kSwizzle128>(columns, kPanelBytes<kColumns>, kEightRows);
  // What comes before must not slip behind the fence.
#pragma unroll
  for (auto& registers : weights) ptx::pin(registers);
  ptx::pin(flat(sums));
  ptx::fence_products();
#pragma unroll
  for (uint32_t step = 0; step < kColumns / 16; ++step) {
    ptx::start_product<kWidth, true>(flat(sums), weights[step], b.further(step * 2 * kEightRows),
                                     true);
  }
  ptx::close_product_group();
}

/// Weights in bfloat16, as the first operand of start_sums.
template <int kColumns>
__device__ inline void pack_weights(uint32_t (&packed)[kColumns / 16][4],
                                    const float (&weights)[kColumns / 8][4]) {
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const pair = &weights[2 * step + i / 2][i % 2 * 2];
      packed[step][i] = ptx::pack_bf16(pair[0], pair[1]);
    }
  }
}

template <int kPieces>
__device__ inline void clear(float (&sums)[kPieces][4]) {
#pragma unroll
  for (auto& piece : sums) {
#pragma unroll
    for (float& sum : piece) sum = 0.0F;
  }
}

/// Which of the multiplying warpgroups this thread is in. By a shuffle, so that the compiler knows it to be one for a warp:
/// products must not lie on paths that may part.
__device__ inline int consumer_of_thread() {
  return __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kGroup - 1, 0);
}

/// For blocks that stay: `bytes` are what the blocks of one head read together.
inline WorkOrder order_of(int64_t heads, int64_t rows, int64_t bytes) {
  constexpr int64_t kCacheBytes = 16 << 20;  // of the 50 MB L2
  return {heads, std::clamp<int64_t>(kCacheBytes / std::max<int64_t>(bytes, 1), 1, heads),
          (rows + kSm90Rows - 1) / kSm90Rows};
}

}  // namespace lexel::kernels::cuda
