// Attention forward for sm_90a, bfloat16, by products of warpgroups.
//
// A block stays on its multiprocessor and takes one work item after another: 128 queries of a head. One warpgroup copies the
// queries and the tiles of keys and values into rings in shared memory, also those of the next item while the last ends. Two
// warpgroups own 64 queries each: while the tensor cores multiply one tile's weights with its values, and the next tile's
// keys, the warpgroup makes weights of the scores that are done (the order of Shah et al. 2024, arXiv:2407.08608, algorithm
// 2). Weights go from registers.

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_sm90.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

template <int kWidth, int kColumns>
struct Shared {
  static constexpr int kItems = 2;  // whose queries are here at a time
  static constexpr int kStages = kWidth <= 64 ? 4 : 2;

  __align__(1024) unsigned char q[kItems][kTileBytes<kSm90Rows, kWidth>];
  __align__(1024) unsigned char keys[kStages][kTileBytes<kColumns, kWidth>];
  __align__(1024) unsigned char values[kStages][kTileBytes<kColumns, kWidth>];
  ptx::Barrier q_here[kItems], q_free[kItems];
  ptx::Barrier keys_here[kStages], keys_free[kStages], values_here[kStages], values_free[kStages];
};

template <int kColumns>
using Tiles = ColumnTiles<RowsAre::kQueries, kColumns>;

template <int kWidth, int kColumns>
__device__ void copy(Shared<kWidth, kColumns>& shared, const AttentionForwardArguments& a,
                     const AttentionProblem& p, const WorkOrder& order) {
  Place<Shared<kWidth, kColumns>::kStages> place;
  Place<Shared<kWidth, kColumns>::kItems> item;
  for (int64_t index = blockIdx.x; index < order.items(); index += gridDim.x) {
    const auto [head_index, row_tile] = order.item(index);
    const int64_t batch = head_index / p.heads, head = head_index % p.heads;
    const int64_t key_head = head / (p.heads / p.key_heads);
    const auto* const q = head_of<__nv_bfloat16>(a.q, batch, head);
    const auto* const keys = head_of<__nv_bfloat16>(a.k, batch, key_head);
    const auto* const values = head_of<__nv_bfloat16>(a.v, batch, key_head);
    const int first_query = row_tile * kSm90Rows;

    ptx::wait_for(&shared.q_free[item.stage], item.parity ^ 1);
    copy_tile<kSm90Rows, kWidth>(shared.q[item.stage], q, a.q.row_stride, first_query, p.queries,
                                 p.width);
    ptx::arrive_when_copied(&shared.q_here[item.stage]);
    item.advance();
    for (Tiles<kColumns> tiles(p, first_query, kSm90Rows); tiles.left(); tiles.advance()) {
      const int stage = place.stage;
      ptx::wait_for(&shared.keys_free[stage], place.parity ^ 1);
      copy_tile<kColumns, kWidth>(shared.keys[stage], keys, a.k.row_stride, tiles.first_column(),
                                  p.keys, p.width);
      ptx::arrive_when_copied(&shared.keys_here[stage]);
      ptx::wait_for(&shared.values_free[stage], place.parity ^ 1);
      copy_tile<kColumns, kWidth>(shared.values[stage], values, a.v.row_stride,
                                  tiles.first_column(), p.keys, p.width);
      ptx::arrive_when_copied(&shared.values_here[stage]);
      place.advance();
    }
  }
}

template <int kWidth, int kColumns>
__device__ void attend(Shared<kWidth, kColumns>& shared, const AttentionForwardArguments& a,
                       const AttentionProblem& p, const WorkOrder& order) {
  using Layout = Shared<kWidth, kColumns>;
  const int group = consumer_of_thread();
  const int warp = static_cast<int>(threadIdx.x) % kGroup / kWarp;
  const float scale = p.scale * kLog2OfE;
  // The warpgroups start products in turns, one each tile, mine or not: so one's exponentials fall into the other's products.
  const auto take_turn = [&] { ptx::meet(1 + group, kConsumers * kGroup); };
  const auto pass_turn = [&] { ptx::announce(2 - group, kConsumers * kGroup); };
  if (group == 1) pass_turn();
  Place<Layout::kStages> place;
  Place<Layout::kItems> item;
  for (int64_t index = blockIdx.x; index < order.items(); index += gridDim.x) {
    const auto [head_index, row_tile] = order.item(index);
    const int first_query = row_tile * kSm90Rows + group * kGroupRows;
    const int warp_query = first_query + warp * kWarpRows;
    const bool* const key_mask =
        p.key_mask == nullptr ? nullptr : p.key_mask + head_index / p.heads * p.keys;
    Tiles<kColumns> tiles(p, row_tile * kSm90Rows, kSm90Rows);
    // Whether this warpgroup's queries see the tile, or only the other's.
    const auto is_mine = [&] {
      return tiles.left() && first_query < p.queries &&
             p.mask.view(first_query, first_query + kGroupRows - 1, tiles.first_column(),
                         tiles.first_column() + kColumns - 1) != TileView::kNone;
    };

    float scores[kColumns / 8][4];
    uint32_t weights[kColumns / 16][4];  // of the tile before, in bfloat16
    float sums[kWidth / 8][4];
    clear(sums);
    RunningSoftmax softmax;
    float shrink[2];
    const auto weigh = [&] {
      hide_unseen<RowsAre::kQueries, kColumns>(scores, p, key_mask, warp_query,
                                               tiles.first_column());
      softmax.add(scores, scale, shrink);
    };

    await_tile(&shared.q_here[item.stage], item.parity);
    const unsigned char* const q = shared.q[item.stage] + group * kGroupRows * 128;
    while (tiles.left()) {
      if (!is_mine()) {
        take_turn();
        pass_turn();
        ptx::wait_for(&shared.keys_here[place.stage], place.parity);
        release_tile(&shared.keys_free[place.stage]);
        ptx::wait_for(&shared.values_here[place.stage], place.parity);
        release_tile(&shared.values_free[place.stage]);
        place.advance();
        tiles.advance();
        continue;
      }
      // A run of tiles that are mine: the first one's scores, then each one's values beside the next one's scores.
      await_tile(&shared.keys_here[place.stage], place.parity);
      take_turn();
      start_scores<kWidth, kColumns>(scores, q, shared.keys[place.stage]);
      pass_turn();
      ptx::wait_for_products<0>(flat(scores));
      release_tile(&shared.keys_free[place.stage]);
      weigh();
      scale_rows(sums, shrink);
      pack_weights<kColumns>(weights, scores);
      tiles.advance();
      while (is_mine()) {
        const Place<Layout::kStages> before = place;
        place.advance();
        await_tile(&shared.values_here[before.stage], before.parity);
        await_tile(&shared.keys_here[place.stage], place.parity);
        take_turn();
        start_scores<kWidth, kColumns>(scores, q, shared.keys[place.stage]);
        start_sums<kWidth, kColumns>(sums, weights, shared.values[before.stage]);
        pass_turn();
        ptx::wait_for_products<1>(flat(scores));
        release_tile(&shared.keys_free[place.stage]);
        weigh();
        ptx::wait_for_products<0>(flat(sums));
        release_tile(&shared.values_free[before.stage]);
        scale_rows(sums, shrink);
        pack_weights<kColumns>(weights, scores);
        tiles.advance();
      }
      await_tile(&shared.values_here[place.stage], place.parity);
      start_sums<kWidth, kColumns>(sums, weights, shared.values[place.stage]);
      ptx::wait_for_products<0>(flat(sums));
      release_tile(&shared.values_free[place.stage]);
      place.advance();
    }
    release_tile(&shared.q_free[item.stage]);
    item.advance();
    if (warp_query < p.queries) {
      store_means<__nv_bfloat16, kWidth>(a, p, head_index, warp_query, softmax, sums);
    }
  }
}

template <int kWidth, int kColumns>
__global__ void __launch_bounds__(kSm90Threads, 1)
    attention_forward_sm90(AttentionForwardArguments a, AttentionProblem p, WorkOrder order) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Layout = Shared<kWidth, kColumns>;
  Layout& shared = *ptx::dynamic_shared<Layout>();
  if (threadIdx.x == 0) {
    for (int item = 0; item < Layout::kItems; ++item) {
      ptx::set_up(&shared.q_here[item], kGroup);
      ptx::set_up(&shared.q_free[item], kConsumerWarps);
    }
    for (int stage = 0; stage < Layout::kStages; ++stage) {
      ptx::set_up(&shared.keys_here[stage], kGroup);
      ptx::set_up(&shared.values_here[stage], kGroup);
      ptx::set_up(&shared.keys_free[stage], kConsumerWarps);
      ptx::set_up(&shared.values_free[stage], kConsumerWarps);
    }
    ptx::fence_barriers();
  }
  __syncthreads();
  if (threadIdx.x < kGroup) {
    ptx::lower_registers<kCopyingRegisters>();
    copy(shared, a, p, order);
  } else {
    ptx::raise_registers<kMultiplyingRegisters>();
    attend(shared, a, p, order);
  }
#endif
}

template <int kWidth, int kColumns>
void launch_tiles(const AttentionForwardArguments& a, Stream stream) {
  const AttentionSizes& sizes = a.sizes;
  const WorkOrder order =
      order_of(sizes.batch * sizes.heads, sizes.queries, sizes.keys * sizes.width * 2 * 2);
  const int64_t blocks = std::min<int64_t>(order.items(), a.multiprocessors);
  launch("attention_forward_sm90", attention_forward_sm90<kWidth, kColumns>,
         {static_cast<unsigned>(blocks), kSm90Threads, sizeof(Shared<kWidth, kColumns>)}, stream, a,
         problem_of(sizes), order);
}

}  // namespace

void launch_attention_forward_sm90(const AttentionForwardArguments& a, Stream stream) {
  // Narrow tiles where a window lets more of them be skipped.
  const bool window = a.sizes.mask.kind == AttentionMask::Kind::kConv;
  if (a.sizes.width <= 64) {
    window ? launch_tiles<64, 64>(a, stream) : launch_tiles<64, 128>(a, stream);
  } else {
    window ? launch_tiles<128, 64>(a, stream) : launch_tiles<128, 128>(a, stream);
  }
}

}  // namespace lexel::kernels::cuda
