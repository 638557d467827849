// Attention forward for sm_90a, bfloat16, by products of warpgroups.
//
// A block stays on its multiprocessor and takes one work item after another: 128 queries of a head. One warpgroup copies the
// queries and the tiles of keys and values into a ring in shared memory, also those of the next item while the last ends. Two
// warpgroups own 64 queries each: while the tensor cores multiply one tile's weights with its values, and the next tile's
// keys, the warpgroup makes weights of the scores that are done (the order of Shah et al. 2024, arXiv:2407.08608, algorithm
// 2). Weights go from registers.

#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_fragments.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/barrier.h"
#include "kernels/cuda/ptx/wgmma.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kGroup = 128;     // threads of a warpgroup
constexpr int kGroupRows = 64;  // queries of a warpgroup
constexpr int kConsumers = 2;   // warpgroups that own queries; one more copies
constexpr int kThreads = (kConsumers + 1) * kGroup;
constexpr int kRows = kConsumers * kGroupRows;
[[maybe_unused]] constexpr int kConsumerWarps = kConsumers * kGroup / kWarp;
constexpr int kPanel = 64;  // columns of 128 bytes, what a swizzled matrix is made of

/// A tile of kTileRows rows: panels of 64 columns, each kTileRows rows of 128 swizzled bytes.
template <int kTileRows, int kWidth>
constexpr uint32_t kTileBytes = kTileRows* kWidth * 2;
template <int kTileRows>
constexpr uint32_t kPanelBytes = kTileRows* kPanel * 2;

template <int kWidth, int kColumns>
struct Shared {
  static constexpr int kItems = 2;  // whose queries are here at a time
  static constexpr int kStages = kWidth <= 64 ? 4 : 2;

  __align__(1024) unsigned char q[kItems][kTileBytes<kRows, kWidth>];
  __align__(1024) unsigned char keys[kStages][kTileBytes<kColumns, kWidth>];
  __align__(1024) unsigned char values[kStages][kTileBytes<kColumns, kWidth>];
  ptx::Barrier q_here[kItems], q_free[kItems];
  ptx::Barrier keys_here[kStages], keys_free[kStages], values_here[kStages], values_free[kStages];
};

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

/// The tiles of keys that any query of an item sees, one after another.
template <int kColumns>
struct KeyTiles {
  const AttentionProblem& p;
  int first_query, last_query, end, tile;

  __device__ KeyTiles(const AttentionProblem& problem, int first)
      : p(problem), first_query(first), last_query(min(first + kRows, problem.queries) - 1) {
    const TileMask::Range range = p.mask.keys_of(first_query, last_query, p.keys);
    end = (range.end + kColumns - 1) / kColumns;
    tile = range.first / kColumns;
    skip();
  }
  __device__ bool left() const { return tile < end; }
  __device__ void advance() {
    ++tile;
    skip();
  }

 private:
  __device__ void skip() {
    while (tile < end && p.mask.view(first_query, last_query, tile * kColumns,
                                     tile * kColumns + kColumns - 1) == TileView::kNone) {
      ++tile;
    }
  }
};

/// The copying warpgroup's part of a tile; `here` hears of it when it has arrived.
template <int kTileRows, int kWidth>
__device__ void copy_tile(unsigned char* tile, const __nv_bfloat16* matrix, int64_t row_stride,
                          int first, int count, int width, ptx::Barrier* here) {
  constexpr int kChunks = kWidth / 8;  // of 16 bytes, in a row
  constexpr int kRowsAtOnce =
      kGroup / kChunks;  // a multiple of 8: a thread's rows are permuted alike
  static_assert(kRowsAtOnce % 8 == 0 && kTileRows % kRowsAtOnce == 0);
  const int thread = static_cast<int>(threadIdx.x) % kGroup;
  const int row = thread / kChunks, chunk = thread % kChunks;
  const int rows =
      chunk * 8 < width ? count - first - row : 0;  // that lie inside, from this thread's first
  unsigned char* const to =
      tile + chunk / 8 * kPanelBytes<kTileRows> +
      ptx::swizzled<ptx::Swizzle::kSwizzle128>(static_cast<uint32_t>(row * 128 + chunk % 8 * 16));
  const __nv_bfloat16* from = matrix + (rows > 0 ? (first + row) * row_stride + chunk * 8 : 0);
#pragma unroll 4
  for (int step = 0; step < kTileRows; step += kRowsAtOnce) {
    const bool inside = step < rows;
    ptx::start_copy_16(to + step * 128, inside ? from : matrix, inside);
    from += kRowsAtOnce * row_stride;
  }
  ptx::arrive_when_copied(here);
}

template <int kWidth, int kColumns>
__device__ void copy_tiles(Shared<kWidth, kColumns>& shared, const AttentionForwardArguments& a,
                           const AttentionProblem& p, const WorkOrder& order) {
  Place<Shared<kWidth, kColumns>::kStages> place;
  Place<Shared<kWidth, kColumns>::kItems> item;
  for (int64_t index = blockIdx.x; index < order.items(); index += gridDim.x) {
    const auto [head_index, row_tile] = order.item(index);
    const int64_t batch = head_index / p.heads, head = head_index % p.heads;
    const int64_t key_head = head / (p.heads / p.key_heads);
    const int first_query = row_tile * kRows;
    ptx::wait_for(&shared.q_free[item.stage], item.parity ^ 1);
    copy_tile<kRows, kWidth>(shared.q[item.stage], head_of<__nv_bfloat16>(a.q, batch, head),
                             a.q.row_stride, first_query, p.queries, p.width,
                             &shared.q_here[item.stage]);
    item.advance();
    const auto* const keys = head_of<__nv_bfloat16>(a.k, batch, key_head);
    const auto* const values = head_of<__nv_bfloat16>(a.v, batch, key_head);
    for (KeyTiles<kColumns> tiles(p, first_query); tiles.left(); tiles.advance()) {
      const int first_key = tiles.tile * kColumns, stage = place.stage;
      ptx::wait_for(&shared.keys_free[stage], place.parity ^ 1);
      copy_tile<kColumns, kWidth>(shared.keys[stage], keys, a.k.row_stride, first_key, p.keys,
                                  p.width, &shared.keys_here[stage]);
      ptx::wait_for(&shared.values_free[stage], place.parity ^ 1);
      copy_tile<kColumns, kWidth>(shared.values[stage], values, a.v.row_stride, first_key, p.keys,
                                  p.width, &shared.values_here[stage]);
      place.advance();
    }
  }
}

/// What a warpgroup does with tiles of keys and values.
template <int kWidth, int kColumns>
struct Consumer {
  static constexpr int kStages = Shared<kWidth, kColumns>::kStages;
  using Layout = Shared<kWidth, kColumns>;

  Layout& shared;
  ptx::SharedMatrix q;
  float scores[kColumns / 8][4];
  uint32_t weights[kColumns / 16][4];  // of the tile before, in bfloat16
  float sums[kWidth / 8][4];

  /// One of each warp tells the copying warpgroup.
  static __device__ void release(ptx::Barrier* free) {
    if (threadIdx.x % kWarp == 0) ptx::arrive(free);
  }

  static __device__ void await(ptx::Barrier* here, uint32_t parity) {
    ptx::wait_for(here, parity);
    ptx::fence_async_proxy();  // cp.async wrote it, the tensor cores read it
  }

  __device__ void start_scores(int stage) {
    ptx::fence_products();
    const auto keys =
        ptx::shared_matrix<ptx::Swizzle::kSwizzle128>(shared.keys[stage], 16, 8 * 128);
#pragma unroll
    for (int step = 0; step < kWidth / 16; ++step) {
      const auto inner = static_cast<uint32_t>(step % 4 * 32);
      ptx::start_product<kColumns>(
          reinterpret_cast<float(&)[kColumns / 2]>(scores),
          q.further(static_cast<uint32_t>(step / 4) * kPanelBytes<kRows> + inner),
          keys.further(static_cast<uint32_t>(step / 4) * kPanelBytes<kColumns> + inner), step > 0);
    }
    ptx::close_product_group();
  }

  __device__ void start_sums(int stage) {
#pragma unroll
    for (auto& registers : weights) ptx::pin(registers);
    ptx::pin(reinterpret_cast<float(&)[kWidth / 2]>(sums));
    ptx::fence_products();
    const auto values = ptx::shared_matrix<ptx::Swizzle::kSwizzle128>(
        shared.values[stage], kPanelBytes<kColumns>, 8 * 128);
#pragma unroll
    for (int step = 0; step < kColumns / 16; ++step) {
      ptx::start_product<kWidth, true>(reinterpret_cast<float(&)[kWidth / 2]>(sums), weights[step],
                                       values.further(static_cast<uint32_t>(step) * 2 * 8 * 128),
                                       true);
    }
    ptx::close_product_group();
  }

  template <int kMayRun>
  __device__ void await_scores() {
    ptx::wait_for_products<kMayRun>(reinterpret_cast<float(&)[kColumns / 2]>(scores));
  }
  __device__ void await_sums() {
    ptx::wait_for_products<0>(reinterpret_cast<float(&)[kWidth / 2]>(sums));
  }

  /// Scores of a warp's 16 queries that do not count become -infinity.
  __device__ void hide(const AttentionProblem& p, const bool* key_mask, int warp_query,
                       int first_key) {
    const TileView view =
        p.mask.view(warp_query, warp_query + kWarpRows - 1, first_key, first_key + kColumns - 1);
    if (view == TileView::kAll && key_mask == nullptr && first_key + kColumns <= p.keys) return;
#pragma unroll
    for (int part = 0; part < kColumns / 64; ++part) {  // SeenBits are of 64 columns
      const SeenBits seen = seen_keys<64>(p, key_mask, warp_query, first_key + 64 * part);
      hide_unseen(reinterpret_cast<float(&)[8][4]>(scores[8 * part]), seen, -INFINITY);
    }
  }

  /// The scores, which are weights by now, in bfloat16.
  __device__ void pack_weights() {
#pragma unroll
    for (int step = 0; step < kColumns / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* const pair = &scores[2 * step + i / 2][i % 2 * 2];
        weights[step][i] = ptx::pack_bf16(pair[0], pair[1]);
      }
    }
  }
};

template <int kWidth, int kColumns>
__device__ void attend(Shared<kWidth, kColumns>& shared, const AttentionForwardArguments& a,
                       const AttentionProblem& p, const WorkOrder& order) {
  using Work = Consumer<kWidth, kColumns>;
  // By a shuffle, so that the compiler knows it to be one for a warp: products must not lie on paths that may part.
  const int group = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kGroup - 1, 0);
  const int warp = static_cast<int>(threadIdx.x) % kGroup / kWarp;
  Work work{shared, {}, {}, {}, {}};
  Place<Work::kStages> place;
  Place<Work::Layout::kItems> item;
  const float scale = p.scale * kLog2OfE;
  for (int64_t index = blockIdx.x; index < order.items(); index += gridDim.x) {
    const auto [head_index, row_tile] = order.item(index);
    const int first_query = row_tile * kRows + group * kGroupRows;
    const int warp_query = first_query + warp * kWarpRows;
    const int64_t batch = head_index / p.heads;
    const bool* const key_mask = p.key_mask == nullptr ? nullptr : p.key_mask + batch * p.keys;
    KeyTiles<kColumns> tiles(p, row_tile * kRows);
    // Whether this warpgroup's queries see the tile, or only the other's.
    const auto is_mine = [&] {
      return tiles.left() && first_query < p.queries &&
             p.mask.view(first_query, first_query + kGroupRows - 1, tiles.tile * kColumns,
                         tiles.tile * kColumns + kColumns - 1) != TileView::kNone;
    };

    RunningSoftmax softmax;
    float shrink[2];
#pragma unroll
    for (auto& piece : work.sums) {
#pragma unroll
      for (float& sum : piece) sum = 0.0F;
    }
    Work::await(&shared.q_here[item.stage], item.parity);
    work.q = ptx::shared_matrix<ptx::Swizzle::kSwizzle128>(
        shared.q[item.stage] + group * kGroupRows * 128, 16, 8 * 128);
    while (tiles.left()) {
      if (!is_mine()) {
        ptx::wait_for(&shared.keys_here[place.stage], place.parity);
        Work::release(&shared.keys_free[place.stage]);
        ptx::wait_for(&shared.values_here[place.stage], place.parity);
        Work::release(&shared.values_free[place.stage]);
        place.advance();
        tiles.advance();
        continue;
      }
      // A run of tiles that are mine: the first one's scores, then each one's values beside the next one's scores.
      Work::await(&shared.keys_here[place.stage], place.parity);
      work.start_scores(place.stage);
      work.template await_scores<0>();
      Work::release(&shared.keys_free[place.stage]);
      work.hide(p, key_mask, warp_query, tiles.tile * kColumns);
      softmax.add(work.scores, scale, shrink);
      scale_rows(work.sums, shrink);
      work.pack_weights();
      tiles.advance();
      while (is_mine()) {
        Place<Work::kStages> before = place;
        place.advance();
        Work::await(&shared.keys_here[place.stage], place.parity);
        work.start_scores(place.stage);
        Work::await(&shared.values_here[before.stage], before.parity);
        work.start_sums(before.stage);
        work.template await_scores<1>();
        Work::release(&shared.keys_free[place.stage]);
        work.hide(p, key_mask, warp_query, tiles.tile * kColumns);
        softmax.add(work.scores, scale, shrink);
        work.await_sums();
        Work::release(&shared.values_free[before.stage]);
        scale_rows(work.sums, shrink);
        work.pack_weights();
        tiles.advance();
      }
      Work::await(&shared.values_here[place.stage], place.parity);
      work.start_sums(place.stage);
      work.await_sums();
      Work::release(&shared.values_free[place.stage]);
      place.advance();
    }
    Work::release(&shared.q_free[item.stage]);
    item.advance();
    if (first_query < p.queries) {
      store_means<__nv_bfloat16, kWidth>(a, p, head_index, warp_query, softmax, work.sums);
    }
  }
}

template <int kWidth, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
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
    ptx::lower_registers<40>();
    copy_tiles(shared, a, p, order);
  } else {
    ptx::raise_registers<232>();
    attend(shared, a, p, order);
  }
#endif
}

template <int kWidth, int kColumns>
void launch_tiles(const AttentionForwardArguments& a, Stream stream) {
  const AttentionSizes& sizes = a.sizes;
  constexpr int64_t kCacheBytes = 16 << 20;  // of the 50 MB L2, for keys and values
  const int64_t head_bytes = std::max<int64_t>(1, sizes.keys * sizes.width * 2 * 2);
  const int64_t heads = sizes.batch * sizes.heads;
  const int64_t row_tiles = (sizes.queries + kRows - 1) / kRows;
  const WorkOrder order{heads, std::clamp<int64_t>(kCacheBytes / head_bytes, 1, heads), row_tiles};
  const int64_t blocks = std::min<int64_t>(order.items(), a.multiprocessors);
  launch("attention_forward_sm90", attention_forward_sm90<kWidth, kColumns>,
         {static_cast<unsigned>(blocks), kThreads, sizeof(Shared<kWidth, kColumns>)}, stream, a,
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
