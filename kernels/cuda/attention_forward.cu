// Attention forward: a block owns 64 queries of one head and walks over the tiles of keys that any of them sees, with the
// running maximum and sum of Dao et al. 2022, arXiv:2205.14135, algorithm 1; a warp owns 16 of the queries and skips the tiles
// that none of its own sees. The next tile of keys and values is copied while one is worked on (bfloat16).

#include <cmath>

#include "kernels/cuda/attention_fragments.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kRows = kThreads / kWarp * kWarpRows;

template <class T, int kWidth>
struct Shared {
  static constexpr int kParts = kPartsOf<T>;
  static constexpr int kStages = kParts == 1 ? 2 : 1;
  static constexpr int kColumns = kParts == 1 ? 64 : 32;
  using Rows = Tile<kParts, kRows, kWidth>;
  using Columns = Tile<kParts, kColumns, kWidth>;
  static constexpr std::size_t kBytes = Rows::kBytes + 2 * kStages * Columns::kBytes;
};

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    attention_forward(AttentionForwardArguments a, AttentionProblem p) {
  using Layout = Shared<T, kWidth>;
  constexpr int kColumns = Layout::kColumns, kStages = Layout::kStages;
  unsigned char* const shared = ptx::dynamic_shared<unsigned char>();
  const typename Layout::Rows q{reinterpret_cast<__nv_bfloat16*>(shared)};
  const auto stage_of = [&](int stage, int tensor) {  // 0: keys, 1: values
    return typename Layout::Columns{reinterpret_cast<__nv_bfloat16*>(
        shared + Layout::Rows::kBytes + (2 * stage + tensor) * Layout::Columns::kBytes)};
  };

  // The last queries first: under a causal mask they have the most keys.
  const int row_tiles = (p.queries + kRows - 1) / kRows;
  const int64_t head_index = blockIdx.x / row_tiles;
  const int first_query = (row_tiles - 1 - static_cast<int>(blockIdx.x) % row_tiles) * kRows;
  const int64_t batch = head_index / p.heads, head = head_index % p.heads;
  const int64_t key_head = head / (p.heads / p.key_heads);
  const T* const keys = head_of<T>(a.k, batch, key_head);
  const T* const values = head_of<T>(a.v, batch, key_head);
  const bool* const key_mask = p.key_mask == nullptr ? nullptr : p.key_mask + batch * p.keys;

  const auto load = [&](int first, int stage) {
    stage_of(stage, 0).template load<T, kThreads>(keys, a.k.row_stride, first, p.keys, p.width);
    stage_of(stage, 1).template load<T, kThreads>(values, a.v.row_stride, first, p.keys, p.width);
  };

  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;
  const int warp_query = first_query + warp_row;
  const float scale = p.scale * kLog2OfE;  // powers of two below
  float sums[kWidth / 8][4] = {};
  RunningSoftmax softmax;

  ColumnTiles<RowsAre::kQueries, kColumns> tiles(p, first_query, kRows);
  q.template load<T, kThreads>(head_of<T>(a.q, batch, head), a.q.row_stride, first_query, p.queries,
                               p.width);
  if (kStages == 2) {
    if (tiles.left()) load(tiles.first_column(), 0);
    ptx::close_copy_group();
  }
  for (int stage = 0; tiles.left(); stage ^= kStages - 1) {
    const int first_key = tiles.first_column();
    tiles.advance();
    if (kStages == 2) {
      ptx::wait_for_copies<0>();
      __syncthreads();  // the tile is here, and the one before is done with
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

    float scores[kColumns / 8][4];
    multiply_rows(scores, q, warp_row, stage_of(stage, 0));
    hide_unseen<RowsAre::kQueries, kColumns>(scores, p, key_mask, warp_query, first_key);
    float shrink[2];
    softmax.add(scores, scale, shrink);
    scale_rows(sums, shrink);
    accumulate(sums, scores, stage_of(stage, 1));
  }
  ptx::wait_for_copies<0>();

  store_means<T, kWidth>(a, p, head_index, warp_query, softmax, sums);
}

template <class T, int kWidth>
void launch_width(const AttentionForwardArguments& a, Stream stream) {
  const AttentionSizes& sizes = a.sizes;
  const int64_t blocks = (sizes.queries + kRows - 1) / kRows * sizes.batch * sizes.heads;
  launch("attention_forward", attention_forward<T, kWidth>,
         {static_cast<unsigned>(blocks), kThreads, Shared<T, kWidth>::kBytes}, stream, a,
         problem_of(sizes));
}

}  // namespace

void launch_attention_forward(const AttentionForwardArguments& a, Stream stream) {
  if (a.sizes.batch * a.sizes.heads * a.sizes.queries == 0) return;
  if (a.sizes.bfloat16 && a.capability == 90) {
    launch_attention_forward_sm90(a, stream);
    return;
  }
  const bool narrow = a.sizes.width <= 64;
  if (a.sizes.bfloat16) {
    narrow ? launch_width<__nv_bfloat16, 64>(a, stream)
           : launch_width<__nv_bfloat16, 128>(a, stream);
  } else {
    narrow ? launch_width<float, 64>(a, stream) : launch_width<float, 128>(a, stream);
  }
}

}  // namespace lexel::kernels::cuda
