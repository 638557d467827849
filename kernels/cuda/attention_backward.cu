// Attention backward, without atomics: the weights are computed again from log_sum_exp (Dao et al. 2022, arXiv:2205.14135,
// algorithm 4), once by the kernel whose blocks own keys (gradients of k and v) and once by the one whose blocks own
// queries (gradient of q), each in a fixed order. With P the weights and D = rowsum(grad * out):
//
//   grad_v = P^T grad,  S = P * (grad v^T - D) / sqrt(d),  grad_q = S k,  grad_k = S^T q

#include <cmath>

#include "kernels/cuda/attention_fragments.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kDeltaThreads = 256;

/// Tiles of a kernel: its block's rows, and the columns it walks over. float32 takes three times the space.
template <class T, int kWidth>
struct Shared {
  static constexpr int kParts = kPartsOf<T>;
  static constexpr int kStages = kParts == 1 ? 2 : 1;
  static constexpr int kRows = kParts == 1 || kWidth <= 64 ? 64 : 32;
  static constexpr int kColumns = kParts == 3 ? 16 : kWidth <= 64 ? 64 : 32;
  static constexpr int kThreads = kRows / kWarpRows * kWarp;
  static_assert(kColumns <= kThreads);
  using Rows = Tile<kParts, kRows, kWidth>;
  using Columns = Tile<kParts, kColumns, kWidth>;
  static constexpr std::size_t kTileBytes = 2 * Rows::kBytes + 2 * kStages * Columns::kBytes;
  static constexpr std::size_t kBytes = kTileBytes + 2 * kStages * kColumns * sizeof(float);

  unsigned char* data;

  __device__ Rows rows(int tensor) const {
    return {reinterpret_cast<__nv_bfloat16*>(data + tensor * Rows::kBytes)};
  }
  __device__ Columns columns(int stage, int tensor) const {
    return {reinterpret_cast<__nv_bfloat16*>(data + 2 * Rows::kBytes +
                                             (2 * stage + tensor) * Columns::kBytes)};
  }
  /// kColumns numbers of the columns of a stage.
  __device__ float* statistics(int stage, int which) const {
    return reinterpret_cast<float*>(data + kTileBytes) + (2 * stage + which) * kColumns;
  }
};

/// D of each query row, and the log of its sum in powers of two: infinity, which makes each weight 0, where nothing is seen.
/// One warp a row.
template <class T>
__global__ void attention_delta(AttentionBackwardArguments a, AttentionProblem p, int64_t rows) {
  const int64_t row = (int64_t{blockIdx.x} * kDeltaThreads + threadIdx.x) / kWarp;
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t head_index = row / p.queries, query = row % p.queries;
  const int64_t batch = head_index / p.heads, head = head_index % p.heads;
  const T* const grad = head_of<T>(a.grad, batch, head) + query * a.grad.row_stride;
  const T* const out = head_of<T>(a.out, batch, head) + query * a.out.row_stride;
  float sum = 0.0F;
  for (int column = 2 * lane; column < p.width; column += 2 * kWarp) {
    if constexpr (sizeof(T) == 4) {
      sum = fmaf(grad[column], out[column], sum);
      sum = fmaf(grad[column + 1], out[column + 1], sum);
    } else {
      const uint32_t x = *reinterpret_cast<const uint32_t*>(grad + column);
      const uint32_t y = *reinterpret_cast<const uint32_t*>(out + column);
      sum = fmaf(__uint_as_float(x << 16), __uint_as_float(y << 16), sum);
      sum = fmaf(__uint_as_float(x & 0xffff0000U), __uint_as_float(y & 0xffff0000U), sum);
    }
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, offset);
  }
  if (lane != 0) return;
  a.deltas[row] = sum;
  const float log_sum = a.log_sum_exp[row];
  a.log2_sums[row] = log_sum == -INFINITY ? INFINITY : log_sum * kLog2OfE;
}

template <class T, int kWidth>
__global__ void __launch_bounds__(Shared<T, kWidth>::kThreads, 2)
    attention_backward_keys(AttentionBackwardArguments a, AttentionProblem p) {
  using Layout = Shared<T, kWidth>;
  constexpr int kRows = Layout::kRows, kColumns = Layout::kColumns;
  constexpr int kStages = Layout::kStages, kThreads = Layout::kThreads;
  const Layout shared{ptx::dynamic_shared<unsigned char>()};
  const auto k = shared.rows(0), v = shared.rows(1);

  const int row_tiles = (p.keys + kRows - 1) / kRows;
  const int64_t head_index = blockIdx.x / row_tiles;  // of the keys
  const int64_t batch = head_index / p.key_heads, key_head = head_index % p.key_heads;
  const int first_key = static_cast<int>(blockIdx.x) % row_tiles * kRows;
  const bool* const key_mask = p.key_mask == nullptr ? nullptr : p.key_mask + batch * p.keys;

  const int group = p.heads / p.key_heads;
  using Tiles = ColumnTiles<RowsAre::kKeys, kColumns>;
  const auto load = [&](const Tiles& at, int stage) {
    const int64_t head = key_head * group + at.member;
    const int first = at.first_column();
    shared.columns(stage, 0).template load<T, kThreads>(head_of<T>(a.q, batch, head),
                                                        a.q.row_stride, first, p.queries, p.width);
    shared.columns(stage, 1).template load<T, kThreads>(
        head_of<T>(a.grad, batch, head), a.grad.row_stride, first, p.queries, p.width);
  };
  const int thread = static_cast<int>(threadIdx.x);
  struct Statistics {
    float log2_sum, delta;
  };
  const auto read_statistics = [&](const Tiles& at) {  // of the query of this thread, if any
    const int query = at.first_column() + thread;
    if (thread >= kColumns || !at.left() || query >= p.queries) return Statistics{INFINITY, 0.0F};
    const int64_t row = (batch * p.heads + key_head * group + at.member) * p.queries + query;
    return Statistics{a.log2_sums[row], a.deltas[row]};
  };
  const auto store_statistics = [&](const Statistics& statistics, int stage) {
    if (thread >= kColumns) return;
    shared.statistics(stage, 0)[thread] = statistics.log2_sum;
    shared.statistics(stage, 1)[thread] = statistics.delta;
  };

  const int warp_row = thread / kWarp * kWarpRows;
  const int warp_key = first_key + warp_row;
  const float scale = p.scale * kLog2OfE;
  float k_sums[kWidth / 8][4] = {}, v_sums[kWidth / 8][4] = {};

  Tiles tiles(p, first_key, kRows);
  k.template load<T, kThreads>(head_of<T>(a.k, batch, key_head), a.k.row_stride, first_key, p.keys,
                               p.width);
  v.template load<T, kThreads>(head_of<T>(a.v, batch, key_head), a.v.row_stride, first_key, p.keys,
                               p.width);
  if (kStages == 2) {
    if (tiles.left()) load(tiles, 0);
    ptx::close_copy_group();
    store_statistics(read_statistics(tiles), 0);
  }
  for (int stage = 0; tiles.left(); stage ^= kStages - 1) {
    const int first_query = tiles.first_column();
    Statistics statistics{};  // of the tile after: asked for before the products, kept after them
    if (kStages == 2) {
      tiles.advance();
      ptx::wait_for_copies<0>();
      __syncthreads();
      if (tiles.left()) load(tiles, stage ^ 1);
      ptx::close_copy_group();
      statistics = read_statistics(tiles);
    } else {
      __syncthreads();
      load(tiles, 0);
      store_statistics(read_statistics(tiles), 0);
      __syncthreads();
      tiles.advance();
    }

    if (warp_key < p.keys && p.mask.view(first_query, first_query + kColumns - 1, warp_key,
                                         warp_key + kWarpRows - 1) != TileView::kNone) {
      const auto q = shared.columns(stage, 0), grad = shared.columns(stage, 1);
      float weights[kColumns / 8][4], slopes[kColumns / 8][4];
      multiply_rows(weights, k, warp_row, q);
      multiply_rows(slopes, v, warp_row, grad);
      hide_unseen<RowsAre::kKeys, kColumns>(weights, p, key_mask, warp_key, first_query);
      const float* const log2_sums = shared.statistics(stage, 0) + thread % 4 * 2;
      const float* const deltas = shared.statistics(stage, 1) + thread % 4 * 2;
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int query = n * 8 + i % 2;
          weights[n][i] = ptx::exp2_fast(fmaf(weights[n][i], scale, -log2_sums[query]));
          slopes[n][i] = weights[n][i] * (slopes[n][i] - deltas[query]);
        }
      }
      accumulate(v_sums, weights, grad);
      accumulate(k_sums, slopes, q);
    }
    if (kStages == 2) store_statistics(statistics, stage ^ 1);
  }
  ptx::wait_for_copies<0>();

  store_rows<T, kWidth>(head_of<T>(a.grad_k, batch, key_head), a.grad_k.row_stride, warp_key,
                        p.keys, p.width, k_sums, {p.scale, p.scale});
  store_rows<T, kWidth>(head_of<T>(a.grad_v, batch, key_head), a.grad_v.row_stride, warp_key,
                        p.keys, p.width, v_sums, {1.0F, 1.0F});
}

template <class T, int kWidth>
__global__ void __launch_bounds__(Shared<T, kWidth>::kThreads, 2)
    attention_backward_queries(AttentionBackwardArguments a, AttentionProblem p) {
  using Layout = Shared<T, kWidth>;
  constexpr int kRows = Layout::kRows, kColumns = Layout::kColumns;
  constexpr int kStages = Layout::kStages, kThreads = Layout::kThreads;
  const Layout shared{ptx::dynamic_shared<unsigned char>()};
  const auto q = shared.rows(0), grad = shared.rows(1);

  const int row_tiles = (p.queries + kRows - 1) / kRows;
  const int64_t head_index = blockIdx.x / row_tiles;
  const int64_t batch = head_index / p.heads, head = head_index % p.heads;
  const int64_t key_head = head / (p.heads / p.key_heads);
  const int first_query = (row_tiles - 1 - static_cast<int>(blockIdx.x) % row_tiles) * kRows;
  const T* const keys = head_of<T>(a.k, batch, key_head);
  const T* const values = head_of<T>(a.v, batch, key_head);
  const bool* const key_mask = p.key_mask == nullptr ? nullptr : p.key_mask + batch * p.keys;

  const auto load = [&](int first, int stage) {
    shared.columns(stage, 0).template load<T, kThreads>(keys, a.k.row_stride, first, p.keys,
                                                        p.width);
    shared.columns(stage, 1).template load<T, kThreads>(values, a.v.row_stride, first, p.keys,
                                                        p.width);
  };

  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;
  const int warp_query = first_query + warp_row;
  const float scale = p.scale * kLog2OfE;
  float log2_sums[2] = {INFINITY, INFINITY}, deltas[2] = {0.0F, 0.0F};  // of rows l / 4 and + 8
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = warp_query + static_cast<int>(threadIdx.x) % kWarp / 4 + 8 * half;
    if (query >= p.queries) continue;
    log2_sums[half] = a.log2_sums[head_index * p.queries + query];
    deltas[half] = a.deltas[head_index * p.queries + query];
  }
  float sums[kWidth / 8][4] = {};

  ColumnTiles<RowsAre::kQueries, kColumns> tiles(p, first_query, kRows);
  q.template load<T, kThreads>(head_of<T>(a.q, batch, head), a.q.row_stride, first_query, p.queries,
                               p.width);
  grad.template load<T, kThreads>(head_of<T>(a.grad, batch, head), a.grad.row_stride, first_query,
                                  p.queries, p.width);
  if (kStages == 2) {
    if (tiles.left()) load(tiles.first_column(), 0);
    ptx::close_copy_group();
  }
  for (int stage = 0; tiles.left(); stage ^= kStages - 1) {
    const int first_key = tiles.first_column();
    tiles.advance();
    if (kStages == 2) {
      ptx::wait_for_copies<0>();
      __syncthreads();
      if (tiles.left()) load(tiles.first_column(), stage ^ 1);
      ptx::close_copy_group();
    } else {
      __syncthreads();
      load(first_key, 0);
      __syncthreads();
    }
    if (warp_query >= p.queries || p.mask.view(warp_query, warp_query + kWarpRows - 1, first_key,
                                               first_key + kColumns - 1) == TileView::kNone) {
      continue;
    }

    const auto k = shared.columns(stage, 0), v = shared.columns(stage, 1);
    float weights[kColumns / 8][4], slopes[kColumns / 8][4];
    multiply_rows(weights, q, warp_row, k);
    multiply_rows(slopes, grad, warp_row, v);
    hide_unseen<RowsAre::kQueries, kColumns>(weights, p, key_mask, warp_query, first_key);
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float weight = ptx::exp2_fast(fmaf(weights[n][i], scale, -log2_sums[i / 2]));
        slopes[n][i] = weight * (slopes[n][i] - deltas[i / 2]);
      }
    }
    accumulate(sums, slopes, k);
  }
  ptx::wait_for_copies<0>();

  store_rows<T, kWidth>(head_of<T>(a.grad_q, batch, head), a.grad_q.row_stride, warp_query,
                        p.queries, p.width, sums, {p.scale, p.scale});
}

template <class T>
void launch_delta(const AttentionBackwardArguments& a, Stream stream) {
  constexpr int kRowsOfBlock = kDeltaThreads / kWarp;
  const int64_t rows = a.sizes.batch * a.sizes.heads * a.sizes.queries;
  if (rows == 0) return;
  launch("attention_delta", attention_delta<T>,
         {static_cast<unsigned>((rows + kRowsOfBlock - 1) / kRowsOfBlock), kDeltaThreads}, stream,
         a, problem_of(a.sizes), rows);
}

template <class T, int kWidth>
void launch_width(const AttentionBackwardArguments& a, Stream stream) {
  using Layout = Shared<T, kWidth>;
  const AttentionSizes& sizes = a.sizes;
  const auto start = [&](const char* name, auto kernel, int64_t rows, int64_t heads) {
    const int64_t blocks = (rows + Layout::kRows - 1) / Layout::kRows * heads;
    if (blocks == 0) return;
    launch(name, kernel, {static_cast<unsigned>(blocks), Layout::kThreads, Layout::kBytes}, stream,
           a, problem_of(sizes));
  };
  start("attention_backward_queries", attention_backward_queries<T, kWidth>, sizes.queries,
        sizes.batch * sizes.heads);
  start("attention_backward_keys", attention_backward_keys<T, kWidth>, sizes.keys,
        sizes.batch * sizes.key_heads);
}

}  // namespace

void launch_attention_backward(const AttentionBackwardArguments& a, Stream stream) {
  const bool narrow = a.sizes.width <= 64;
  if (a.sizes.bfloat16) {
    launch_delta<__nv_bfloat16>(a, stream);
    if (a.capability == 90 && narrow) {
      launch_attention_backward_sm90(a, stream);
    } else {
      narrow ? launch_width<__nv_bfloat16, 64>(a, stream)
             : launch_width<__nv_bfloat16, 128>(a, stream);
    }
  } else {
    launch_delta<float>(a, stream);
    narrow ? launch_width<float, 64>(a, stream) : launch_width<float, 128>(a, stream);
  }
}

}  // namespace lexel::kernels::cuda
