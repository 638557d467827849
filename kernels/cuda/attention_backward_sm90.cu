// Attention backward for sm_90a, bfloat16, head widths up to 64, by products of warpgroups: attention_backward.cu's two kernels
// as one template, with attention_forward_sm90.cu's division of labour. A block's rows are keys (rows k and v, columns q and
// grad) or queries (rows q and grad, columns k and v); of each tile of columns
//
//   scores = rows0 columns0^T,  slopes = rows1 columns1^T,  P = 2^(scores - log2 of the sum),  S = P * (slopes - D),
//   sums0 += S columns0, and where rows are keys sums1 += P columns1
//
// While the tensor cores make a tile's sums, the next one's scores and slopes are started.

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_sm90.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kWidth = 64, kColumns = 64;

struct Shared {
  static constexpr int kItems = 2;
  static constexpr int kStages = 4;

  __align__(1024) unsigned char rows[kItems][2][kTileBytes<kSm90Rows, kWidth>];
  __align__(1024) unsigned char columns[kStages][2][kTileBytes<kColumns, kWidth>];
  float log2_sums[kStages][kColumns], deltas[kStages][kColumns];  // where columns are queries
  ptx::Barrier rows_here[kItems], rows_free[kItems];
  ptx::Barrier columns_here[kStages], columns_free[kStages];
};

template <RowsAre kRowsAre>
using Tiles = ColumnTiles<kRowsAre, kColumns>;

/// A work item's place: heads of the pictures, and its first row.
struct Item {
  int64_t batch, head;  // of queries or of keys, as the rows are
  int first_row;
};

template <RowsAre kRowsAre>
__device__ Item item_of(const AttentionProblem& p, const WorkOrder& order, int64_t index) {
  const auto [head_index, tile] = order.item(index);
  if (kRowsAre == RowsAre::kQueries) {
    return {head_index / p.heads, head_index % p.heads, tile * kSm90Rows};
  }
  // Under a causal mask the first keys have the most queries.
  return {head_index / p.key_heads, head_index % p.key_heads,
          static_cast<int>(order.row_tiles - 1 - tile) * kSm90Rows};
}

template <RowsAre kRowsAre>
__device__ void copy(Shared& shared, const AttentionBackwardArguments& a, const AttentionProblem& p,
                     const WorkOrder& order) {
  constexpr bool kKeys = kRowsAre == RowsAre::kKeys;
  const int group = p.heads / p.key_heads;
  const AttentionInput &row0 = kKeys ? a.k : a.q, &row1 = kKeys ? a.v : a.grad;
  const AttentionInput &column0 = kKeys ? a.q : a.k, &column1 = kKeys ? a.grad : a.v;
  const int row_count = kKeys ? p.keys : p.queries, column_count = kKeys ? p.queries : p.keys;
  const auto copy_rows = [&](unsigned char* to, const AttentionInput& from, const Item& item) {
    copy_tile<kSm90Rows, kWidth>(to, head_of<__nv_bfloat16>(from, item.batch, item.head),
                                 from.row_stride, item.first_row, row_count, p.width);
  };
  const auto copy_columns = [&](unsigned char* to, const AttentionInput& from, int64_t batch,
                                int64_t head, int first) {
    copy_tile<kColumns, kWidth>(to, head_of<__nv_bfloat16>(from, batch, head), from.row_stride,
                                first, column_count, p.width);
  };
  const int thread = static_cast<int>(threadIdx.x);

  Place<Shared::kStages> place;
  Place<Shared::kItems> ring;
  for (int64_t index = blockIdx.x; index < order.items(); index += gridDim.x) {
    const Item item = item_of<kRowsAre>(p, order, index);
    ptx::wait_for(&shared.rows_free[ring.stage], ring.parity ^ 1);
    copy_rows(shared.rows[ring.stage][0], row0, item);
    copy_rows(shared.rows[ring.stage][1], row1, item);
    ptx::arrive_when_copied(&shared.rows_here[ring.stage]);
    ring.advance();
    for (Tiles<kRowsAre> tiles(p, item.first_row, kSm90Rows); tiles.left(); tiles.advance()) {
      const int stage = place.stage, first = tiles.first_column();
      const int64_t head = kKeys ? item.head * group + tiles.member : item.head / group;
      ptx::wait_for(&shared.columns_free[stage], place.parity ^ 1);
      copy_columns(shared.columns[stage][0], column0, item.batch, head, first);
      copy_columns(shared.columns[stage][1], column1, item.batch, head, first);
      if (kKeys && thread < kColumns) {
        // Zeros past the last query: its q and grad are zeros too, and so is all that it adds.
        const bool inside = first + thread < p.queries;
        const int64_t row =
            (item.batch * p.heads + head) * p.queries + (inside ? first + thread : 0);
        ptx::start_copy_4(&shared.log2_sums[stage][thread], a.log2_sums + row, inside);
        ptx::start_copy_4(&shared.deltas[stage][thread], a.deltas + row, inside);
      }
      ptx::arrive_when_copied(&shared.columns_here[stage]);
      place.advance();
    }
  }
}

template <RowsAre kRowsAre>
__device__ void differentiate(Shared& shared, const AttentionBackwardArguments& a,
                              const AttentionProblem& p, const WorkOrder& order) {
  constexpr bool kKeys = kRowsAre == RowsAre::kKeys;
  const int group = consumer_of_thread();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) % kGroup / kWarp;
  const int row_count = kKeys ? p.keys : p.queries;
  const float scale = p.scale * kLog2OfE;
  Place<Shared::kStages> place;
  Place<Shared::kItems> ring;
  for (int64_t index = blockIdx.x; index < order.items(); index += gridDim.x) {
    const Item item = item_of<kRowsAre>(p, order, index);
    const int first_row = item.first_row + group * kGroupRows;
    const int warp_row = first_row + warp * kWarpRows;
    const bool* const key_mask = p.key_mask == nullptr ? nullptr : p.key_mask + item.batch * p.keys;
    Tiles<kRowsAre> tiles(p, item.first_row, kSm90Rows);
    const auto is_mine = [&] {
      return tiles.left() && first_row < row_count &&
             view_of<kRowsAre>(p, first_row, first_row + kGroupRows - 1, tiles.first_column(),
                               tiles.first_column() + kColumns - 1) != TileView::kNone;
    };
    float row_log2_sums[2] = {INFINITY, INFINITY}, row_deltas[2] = {0.0F, 0.0F};
    if constexpr (!kKeys) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int query = warp_row + lane / 4 + 8 * half;
        if (query >= p.queries) continue;
        const int64_t row = (item.batch * p.heads + item.head) * p.queries + query;
        row_log2_sums[half] = a.log2_sums[row];
        row_deltas[half] = a.deltas[row];
      }
    }

    float scores[kColumns / 8][4], slopes[kColumns / 8][4];
    uint32_t weights[kColumns / 16][4], packed_slopes[kColumns / 16][4];
    float sums0[kWidth / 8][4], sums1[kWidth / 8][4];
    clear(sums0);
    clear(sums1);

    await_tile(&shared.rows_here[ring.stage], ring.parity);
    const unsigned char* const rows0 = shared.rows[ring.stage][0] + group * kGroupRows * 128;
    const unsigned char* const rows1 = shared.rows[ring.stage][1] + group * kGroupRows * 128;
    while (tiles.left()) {
      if (!is_mine()) {
        ptx::wait_for(&shared.columns_here[place.stage], place.parity);
        release_tile(&shared.columns_free[place.stage]);
        place.advance();
        tiles.advance();
        continue;
      }
      int before = -1;  // the stage whose sums are under way
      do {
        const int stage = place.stage;
        await_tile(&shared.columns_here[stage], place.parity);
        start_scores<kWidth, kColumns>(scores, rows0, shared.columns[stage][0]);
        start_scores<kWidth, kColumns>(slopes, rows1, shared.columns[stage][1]);
        ptx::wait_for_products<2>(flat(sums0), flat(sums1));
        if (before >= 0) release_tile(&shared.columns_free[before]);
        ptx::wait_for_products<1>(flat(scores));
        hide_unseen<kRowsAre, kColumns>(scores, p, key_mask, warp_row, tiles.first_column());
        const float* const log2_sums = shared.log2_sums[stage] + lane % 4 * 2;
        const float* const deltas = shared.deltas[stage] + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float log2_sum = kKeys ? log2_sums[n * 8 + i % 2] : row_log2_sums[i / 2];
            scores[n][i] = ptx::exp2_fast(fmaf(scores[n][i], scale, -log2_sum));
          }
        }
        if constexpr (kKeys) {
          pack_weights<kColumns>(weights, scores);
          start_sums<kWidth, kColumns>(sums1, weights, shared.columns[stage][1]);
          ptx::wait_for_products<1>(flat(slopes));
        } else {
          ptx::wait_for_products<0>(flat(slopes));
        }
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float delta = kKeys ? deltas[n * 8 + i % 2] : row_deltas[i / 2];
            slopes[n][i] = scores[n][i] * (slopes[n][i] - delta);
          }
        }
        pack_weights<kColumns>(packed_slopes, slopes);
        start_sums<kWidth, kColumns>(sums0, packed_slopes, shared.columns[stage][0]);
        before = stage;
        place.advance();
        tiles.advance();
      } while (is_mine());
      ptx::wait_for_products<0>(flat(sums0), flat(sums1));
      release_tile(&shared.columns_free[before]);
    }
    release_tile(&shared.rows_free[ring.stage]);
    ring.advance();
    if (warp_row >= row_count) continue;
    const AttentionOutput& grad0 = kKeys ? a.grad_k : a.grad_q;
    store_rows<__nv_bfloat16, kWidth>(head_of<__nv_bfloat16>(grad0, item.batch, item.head),
                                      grad0.row_stride, warp_row, row_count, p.width, sums0,
                                      {p.scale, p.scale});
    if constexpr (kKeys) {
      store_rows<__nv_bfloat16, kWidth>(head_of<__nv_bfloat16>(a.grad_v, item.batch, item.head),
                                        a.grad_v.row_stride, warp_row, row_count, p.width, sums1,
                                        {1.0F, 1.0F});
    }
  }
}

template <RowsAre kRowsAre>
__global__ void __launch_bounds__(kSm90Threads, 1)
    attention_backward_sm90(AttentionBackwardArguments a, AttentionProblem p, WorkOrder order) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  Shared& shared = *ptx::dynamic_shared<Shared>();
  if (threadIdx.x == 0) {
    for (int item = 0; item < Shared::kItems; ++item) {
      ptx::set_up(&shared.rows_here[item], kGroup);
      ptx::set_up(&shared.rows_free[item], kConsumerWarps);
    }
    for (int stage = 0; stage < Shared::kStages; ++stage) {
      ptx::set_up(&shared.columns_here[stage], kGroup);
      ptx::set_up(&shared.columns_free[stage], kConsumerWarps);
    }
    ptx::fence_barriers();
  }
  __syncthreads();
  if (threadIdx.x < kGroup) {
    ptx::lower_registers<kCopyingRegisters>();
    copy<kRowsAre>(shared, a, p, order);
  } else {
    ptx::raise_registers<kMultiplyingRegisters>();
    differentiate<kRowsAre>(shared, a, p, order);
  }
#endif
}

}  // namespace

void launch_attention_backward_sm90(const AttentionBackwardArguments& a, Stream stream) {
  const AttentionSizes& sizes = a.sizes;
  const AttentionProblem problem = problem_of(sizes);
  const auto start = [&](auto kernel, const WorkOrder& order) {
    if (order.items() == 0) return;
    const int64_t blocks = std::min<int64_t>(order.items(), a.multiprocessors);
    launch("attention_backward_sm90", kernel,
           {static_cast<unsigned>(blocks), kSm90Threads, sizeof(Shared)}, stream, a, problem,
           order);
  };
  const int64_t group = sizes.heads / sizes.key_heads;
  start(attention_backward_sm90<RowsAre::kQueries>,
        order_of(sizes.batch * sizes.heads, sizes.queries, sizes.keys * sizes.width * 2 * 2));
  start(attention_backward_sm90<RowsAre::kKeys>,
        order_of(sizes.batch * sizes.key_heads, sizes.keys,
                 group * sizes.queries * sizes.width * 2 * 2));
}

}  // namespace lexel::kernels::cuda
