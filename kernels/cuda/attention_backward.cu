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

/// D of each query row, one warp a row.
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
  if (lane == 0) a.delta[row] = sum;
}

/// The log of a row's sum in powers of two; infinity, which makes each weight 0, where nothing is seen.
__device__ inline float log2_sum(float log_sum_exp) {
  return log_sum_exp == -INFINITY ? INFINITY : log_sum_exp * kLog2OfE;
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
  const int last_key = min(first_key + kRows, p.keys) - 1;
  const bool* const key_mask = p.key_mask == nullptr ? nullptr : p.key_mask + batch * p.keys;

  // The work: for each query head of the group, in order, the tiles of queries that see any of these keys.
  const int group = p.heads / p.key_heads;
  const TileMask::Range range = p.mask.queries_of(first_key, last_key, p.queries);
  const int begin = range.first / kColumns, end = (range.end + kColumns - 1) / kColumns;
  struct Work {
    int member, tile;
  };
  const auto next_work = [&](Work work) {
    for (; work.member < group; ++work.member, work.tile = begin) {
      for (; work.tile < end; ++work.tile) {
        const int first = work.tile * kColumns;
        if (p.mask.view(first, first + kColumns - 1, first_key, last_key) != TileView::kNone) {
          return work;
        }
      }
    }
    return work;
  };
  const auto load = [&](const Work& work, int stage) {
    const int64_t head = key_head * group + work.member;
    const int first = work.tile * kColumns;
    shared.columns(stage, 0).template load<T, kThreads>(head_of<T>(a.q, batch, head),
                                                        a.q.row_stride, first, p.queries, p.width);
    shared.columns(stage, 1).template load<T, kThreads>(
        head_of<T>(a.grad, batch, head), a.grad.row_stride, first, p.queries, p.width);
  };
  const int thread = static_cast<int>(threadIdx.x);
  struct Statistics {
    float log2_sum, delta;
  };
  const auto read_statistics = [&](const Work& work) {  // of the query of this thread, if any
    const int query = work.tile * kColumns + thread;
    if (thread >= kColumns || work.member >= group || query >= p.queries) {
      return Statistics{INFINITY, 0.0F};
    }
    const int64_t row = (batch * p.heads + key_head * group + work.member) * p.queries + query;
    return Statistics{log2_sum(a.log_sum_exp[row]), a.delta[row]};
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

  Work work = next_work({0, begin});
  k.template load<T, kThreads>(head_of<T>(a.k, batch, key_head), a.k.row_stride, first_key, p.keys,
                               p.width);
  v.template load<T, kThreads>(head_of<T>(a.v, batch, key_head), a.v.row_stride, first_key, p.keys,
                               p.width);
  if (kStages == 2) {
    if (work.member < group) load(work, 0);
    ptx::close_copy_group();
    store_statistics(read_statistics(work), 0);
  }
  for (int stage = 0; work.member < group; stage ^= kStages - 1) {
    const Work following = next_work({work.member, work.tile + 1});
    Statistics
        statistics{};  // of the following tile: asked for before the products, kept after them
    if (kStages == 2) {
      ptx::wait_for_copies<0>();
      __syncthreads();
      if (following.member < group) load(following, stage ^ 1);
      ptx::close_copy_group();
      statistics = read_statistics(following);
    } else {
      __syncthreads();
      load(work, 0);
      store_statistics(read_statistics(work), 0);
      __syncthreads();
    }

    const int first_query = work.tile * kColumns;
    const TileView view =
        p.mask.view(first_query, first_query + kColumns - 1, warp_key, warp_key + kWarpRows - 1);
    if (view != TileView::kNone && warp_key < p.keys) {
      const auto q = shared.columns(stage, 0), grad = shared.columns(stage, 1);
      float weights[kColumns / 8][4], slopes[kColumns / 8][4];
      multiply_rows(weights, k, warp_row, q);
      multiply_rows(slopes, v, warp_row, grad);
      if (view == TileView::kPart || key_mask != nullptr || warp_key + kWarpRows > p.keys) {
        const SeenBits seen = seen_by_queries<kColumns>(p, key_mask, warp_key, first_query);
        hide_unseen(weights, seen, -INFINITY);
      }
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
    work = following;
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
  const int last_query = min(first_query + kRows, p.queries) - 1;
  const T* const keys = head_of<T>(a.k, batch, key_head);
  const T* const values = head_of<T>(a.v, batch, key_head);
  const bool* const key_mask = p.key_mask == nullptr ? nullptr : p.key_mask + batch * p.keys;

  const TileMask::Range range = p.mask.keys_of(first_query, last_query, p.keys);
  const int end = (range.end + kColumns - 1) / kColumns;
  const auto next_tile = [&](int tile) {
    while (tile < end && p.mask.view(first_query, last_query, tile * kColumns,
                                     tile * kColumns + kColumns - 1) == TileView::kNone) {
      ++tile;
    }
    return tile;
  };
  const auto load = [&](int tile, int stage) {
    const int first = tile * kColumns;
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
    log2_sums[half] = log2_sum(a.log_sum_exp[head_index * p.queries + query]);
    deltas[half] = a.delta[head_index * p.queries + query];
  }
  float sums[kWidth / 8][4] = {};

  int tile = next_tile(range.first / kColumns);
  q.template load<T, kThreads>(head_of<T>(a.q, batch, head), a.q.row_stride, first_query, p.queries,
                               p.width);
  grad.template load<T, kThreads>(head_of<T>(a.grad, batch, head), a.grad.row_stride, first_query,
                                  p.queries, p.width);
  if (kStages == 2) {
    if (tile < end) load(tile, 0);
    ptx::close_copy_group();
  }
  for (int stage = 0; tile < end; stage ^= kStages - 1) {
    const int following = next_tile(tile + 1);
    if (kStages == 2) {
      ptx::wait_for_copies<0>();
      __syncthreads();
      if (following < end) load(following, stage ^ 1);
      ptx::close_copy_group();
    } else {
      __syncthreads();
      load(tile, 0);
      __syncthreads();
    }

    const int first_key = tile * kColumns;
    tile = following;
    const TileView view =
        p.mask.view(warp_query, warp_query + kWarpRows - 1, first_key, first_key + kColumns - 1);
    if (view == TileView::kNone || warp_query >= p.queries) continue;

    const auto k = shared.columns(stage, 0), v = shared.columns(stage, 1);
    float weights[kColumns / 8][4], slopes[kColumns / 8][4];
    multiply_rows(weights, q, warp_row, k);
    multiply_rows(slopes, grad, warp_row, v);
    if (view == TileView::kPart || key_mask != nullptr || first_key + kColumns > p.keys) {
      hide_unseen(weights, seen_keys<kColumns>(p, key_mask, warp_query, first_key), -INFINITY);
    }
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

template <class T, int kWidth>
void launch_width(const AttentionBackwardArguments& a, Stream stream) {
  using Layout = Shared<T, kWidth>;
  const AttentionSizes& sizes = a.sizes;
  const AttentionProblem problem = problem_of(sizes);
  const auto blocks = [](int64_t rows, int64_t heads) {
    return static_cast<unsigned>((rows + Layout::kRows - 1) / Layout::kRows * heads);
  };
  const int64_t rows = sizes.batch * sizes.heads * sizes.queries;
  if (rows > 0) {
    constexpr int kRowsOfBlock = kDeltaThreads / kWarp;
    launch("attention_delta", attention_delta<T>,
           {static_cast<unsigned>((rows + kRowsOfBlock - 1) / kRowsOfBlock), kDeltaThreads}, stream,
           a, problem, rows);
    launch("attention_backward_queries", attention_backward_queries<T, kWidth>,
           {blocks(sizes.queries, sizes.batch * sizes.heads), Layout::kThreads, Layout::kBytes},
           stream, a, problem);
  }
  if (sizes.batch * sizes.key_heads * sizes.keys > 0) {
    launch("attention_backward_keys", attention_backward_keys<T, kWidth>,
           {blocks(sizes.keys, sizes.batch * sizes.key_heads), Layout::kThreads, Layout::kBytes},
           stream, a, problem);
  }
}

}  // namespace

void launch_attention_backward(const AttentionBackwardArguments& a, Stream stream) {
  const bool narrow = a.sizes.width <= 64;
  if (a.sizes.bfloat16) {
    narrow ? launch_width<__nv_bfloat16, 64>(a, stream)
           : launch_width<__nv_bfloat16, 128>(a, stream);
  } else {
    narrow ? launch_width<float, 64>(a, stream) : launch_width<float, 128>(a, stream);
  }
}

}  // namespace lexel::kernels::cuda
