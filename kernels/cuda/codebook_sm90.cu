// The look-up on sm_90a: one pass over the codes by wgmma, candidates as codebook_candidates.h says.
//
// A block is a producer warp and two warpgroups. The producer brings tiles of codes (in chunks of at most 64 widths, each
// one bulk copy) through a ring in shared memory; each warpgroup multiplies them with its own kBlocks x 64 rows, which
// stay in shared memory. While one warpgroup looks for the maxima of its products, the other's run on the tensor cores.
//
// Counted, not measured: a tile of 256 codes of width 32 against 64 rows takes the tensor cores 2 x 128 clocks. The 128 threads
// then have, each, 2 rows x 4 slots x (19 FMNMX + FSETP + SEL, as nvdisasm shows) = 168 instructions of the pipe that takes
// 64 a clock: 336 clocks. So 65,536 rows x 8,192 codes x 32: 1,024 x 32 x 336 clocks / 132 multiprocessors / 1.755 GHz = 48
// us. L2 gives the codes once for 256 rows: 134 MB. After it the float32 look at 1.03 candidates a row: 138 MB of codes,
// and for a warp 9 turns of about 1,000 clocks in each of two waves, 10 us. With the packing before and the hard rows
// after it (three small kernels) 75 to 95 us. nvcc 13.0: 168 registers (232 for those who multiply), no spills.
//
// Width 256 and 262,144 codes: 4,096 clocks of products a tile, so 9.6 ms; 128 rows a block ask 69 GB of L2, 12.5 ms at 5.5
// TB/s, which is the limit.

#include "kernels/cuda/codebook_candidates.h"
#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/barrier.h"
#include "kernels/cuda/ptx/shared_memory.h"
#include "kernels/cuda/ptx/wgmma.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kWarpgroup = 128;
constexpr int kConsumers = 2;  // warpgroups
constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
constexpr int kBlockRows = 64;  // of one product
constexpr int kMaxStages = 6;
constexpr int kBiasBytes = CodeTiles::kCodes * sizeof(float);
constexpr int kMaxSharedBytes = 227 * 1024;
constexpr int kWarpCandidates = 16 * 4 * kSlots;  // a row's quad may list all its slots

/// Where things lie in dynamic shared memory, in bytes; the ring comes first.
struct Layout {
  int stage_bytes, num_stages, rows, row_block_bytes, row_facts, candidates, total;
};

Layout layout_of(const CodeTiles& shape, int blocks) {
  Layout layout{};
  const int num_rows = kConsumers * blocks * kBlockRows;
  layout.stage_bytes = CodeTiles::kCodes * shape.chunk_width * 2 + kBiasBytes;
  layout.row_block_bytes = kBlockRows * shape.chunk_width * shape.num_chunks * 2;
  const int others = kConsumers * blocks * layout.row_block_bytes + num_rows * 4 * 4 +
                     kConsumers * 4 * blocks * kWarpCandidates * 4;
  const int fit = (kMaxSharedBytes - 1024 - others) / layout.stage_bytes;  // 1024: static, spare
  layout.num_stages = fit < kMaxStages ? fit : kMaxStages;
  layout.rows = layout.num_stages * layout.stage_bytes;
  layout.row_facts = layout.rows + kConsumers * blocks * layout.row_block_bytes;
  layout.candidates = layout.row_facts + num_rows * 4 * 4;
  layout.total = layout.rows + others;
  return layout;
}

/// A chunk has 16 kSteps widths. More than one chunk only with kChunked, which allows one block.
template <bool kL2, int kBlocks, int kSteps, bool kChunked>
__global__ void __launch_bounds__(kThreads, 1)
    candidates_sm90(CodebookLookupArguments a, CodebookTensorScratch t, Layout layout) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kRows = kConsumers * kBlocks * kBlockRows;
  __shared__ ptx::Barrier full[kMaxStages], empty[kMaxStages];
  auto* const shared = ptx::dynamic_shared<unsigned char>();
  const int64_t row_blocks = (a.num_rows + kRows - 1) / kRows;
  const int64_t book = blockIdx.x / row_blocks;
  const int64_t first_row = blockIdx.x % row_blocks * kRows;
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  constexpr int chunk_width = 16 * kSteps;
  const int num_chunks = kChunked ? t.shape.num_chunks : 1;
  const auto num_tiles = static_cast<int>(t.shape.num_tiles);
  if (threadIdx.x == 0) {
    for (int i = 0; i < layout.num_stages; ++i) {
      ptx::set_up(&full[i], 1);
      ptx::set_up(&empty[i], kConsumers * 4);  // a warp each
    }
    ptx::fence_barriers();
  }
  __syncthreads();

  if (warpgroup == kConsumers) {  // the producer: one thread
    ptx::lower_registers<40>();
    if (threadIdx.x != kConsumers * kWarpgroup) return;
    constexpr uint32_t chunk_bytes = CodeTiles::kCodes * chunk_width * 2;
    const uint16_t* from = t.tiles + book * t.shape.halves();
    const float* bias = t.tile_bias + book * t.shape.num_tiles * CodeTiles::kCodes;
    int stage = 0;
    uint32_t parity = 1;
    for (int tile = 0; tile < num_tiles; ++tile, bias += CodeTiles::kCodes) {
      for (int chunk = 0; chunk < num_chunks; ++chunk, from += chunk_bytes / 2) {
        unsigned char* const to = shared + stage * layout.stage_bytes;
        ptx::wait_for(&empty[stage], parity);
        ptx::arrive_expecting(&full[stage], chunk_bytes + (kL2 ? kBiasBytes : 0));
        ptx::start_bulk_copy(to, from, chunk_bytes, &full[stage]);
        if constexpr (kL2) {
          ptx::start_bulk_copy(to + layout.stage_bytes - kBiasBytes, bias, kBiasBytes,
                               &full[stage]);
        }
        if (++stage == layout.num_stages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
    return;
  }

  ptx::raise_registers<232>();
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  const int warp = thread / kWarp, lane = thread % kWarp;
  auto* const facts = reinterpret_cast<float*>(shared + layout.row_facts);
  const SharedRows rows{facts, facts + kRows, facts + 2 * kRows,
                        reinterpret_cast<int*>(facts + 3 * kRows)};
  const int first_place = warpgroup * kBlocks * kBlockRows;
  unsigned char* const row_blocks_at =
      shared + layout.rows + warpgroup * kBlocks * layout.row_block_bytes;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    const int place = first_place + b * kBlockRows + thread / 2;
    load_row<kBlockRows>(a, t, book, first_row + place, thread % 2, place, thread / 2,
                         reinterpret_cast<uint16_t*>(row_blocks_at + b * layout.row_block_bytes),
                         rows);
  }
  ptx::fence_async_proxy();
  ptx::meet(1 + warpgroup, kWarpgroup);

  // Of this lane's rows: 16 warp + lane / 4 + 8 h of block b.
  const int first_of_warp = first_place + 16 * warp, first_of_lane = first_of_warp + lane / 4;
  RowSlots slots[kBlocks][2];
  float scale[kBlocks][2];
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      slots[b][h].clear();
      scale[b][h] = rows.scale[first_of_lane + b * kBlockRows + 8 * h];
    }
  }

  constexpr uint32_t next_octet = 128, next_eight_rows = chunk_width * 16;
  int stage = 0;
  uint32_t parity = 0;
  for (int tile = 0; tile < num_tiles; ++tile) {
    const float* bias = nullptr;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      float d[CodeTiles::kCodes / 2];
      int last_stage = stage;
      for (int chunk = 0; chunk < num_chunks; ++chunk) {
        if (b == 0) ptx::wait_for(&full[stage], parity);
        const ptx::SharedMatrix left = ptx::shared_matrix<ptx::Swizzle::kPlain>(
            row_blocks_at + b * layout.row_block_bytes + chunk * kBlockRows * chunk_width * 2,
            next_octet, next_eight_rows);
        const ptx::SharedMatrix right = ptx::shared_matrix<ptx::Swizzle::kPlain>(
            shared + stage * layout.stage_bytes, next_octet, next_eight_rows);
        ptx::fence_products();
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          const auto further = static_cast<uint32_t>(step) * 256;
          ptx::start_half_product(d, left.further(further), right.further(further),
                                  (kChunked && chunk > 0) || step > 0);
        }
        ptx::close_product_group();
        if (kChunked &&
            chunk > 0) {  // the products of the chunk before have ended: its stage is free
          ptx::wait_for_products<1>();
          if (lane == 0) ptx::arrive(&empty[last_stage]);
        }
        last_stage = stage;
        if (b + 1 == kBlocks) {
          if (++stage == layout.num_stages) {
            stage = 0;
            parity ^= 1;
          }
        }
      }
      ptx::wait_for_products<0>(d);
      const bool last_block = b + 1 == kBlocks;
      if (!kL2 && last_block && lane == 0) ptx::arrive(&empty[last_stage]);
      if constexpr (kL2) {
        bias = reinterpret_cast<const float*>(shared + (last_stage + 1) * layout.stage_bytes -
                                              kBiasBytes);
      }
#pragma unroll
      for (int s = 0; s < kSlots; ++s) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          slots[b][h].template meet<kL2>(s, tile, d + 32 * s + 2 * h, kL2 ? bias + 64 * s : nullptr,
                                         scale[b][h], lane % 4);
        }
      }
      if (kL2 && last_block) {  // the bias has been read too
        __syncwarp();
        if (lane == 0) ptx::arrive(&empty[last_stage]);
      }
    }
  }

  auto* const list = reinterpret_cast<unsigned*>(shared + layout.candidates) +
                     (warpgroup * 4 + warp) * kBlocks * kWarpCandidates;
  int count = 0;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      list_candidates(slots[b][h], first_of_lane + b * kBlockRows + 8 * h, rows, list, count);
    }
  }
  score_candidates(a, book, first_row, list, count, rows);
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    finish_rows(a, t, book, first_row, first_of_warp + b * kBlockRows, rows);
  }
#endif
}

template <bool kL2, int kBlocks, int kSteps, bool kChunked = false>
void launch_blocks(const CodebookLookupArguments& arguments, const CodebookTensorScratch& scratch,
                   Stream stream) {
  constexpr int kRows = kConsumers * kBlocks * kBlockRows;
  const Layout layout = layout_of(scratch.shape, kBlocks);
  const int64_t blocks = (arguments.num_rows + kRows - 1) / kRows * arguments.num_books;
  LaunchShape shape{static_cast<unsigned>(blocks), kThreads};
  shape.shared_bytes = static_cast<std::size_t>(layout.total);
  launch("candidates_sm90", candidates_sm90<kL2, kBlocks, kSteps, kChunked>, shape, stream,
         arguments, scratch, layout);
}

template <bool kL2>
void launch_metric(const CodebookLookupArguments& arguments, const CodebookTensorScratch& scratch,
                   bool two_blocks, Stream stream) {
  if (scratch.shape.num_chunks > 1)
    return launch_blocks<kL2, 1, 4, true>(arguments, scratch, stream);
  const bool narrow = scratch.shape.chunk_width == 32;
  const auto launch_them = two_blocks
                               ? (narrow ? launch_blocks<kL2, 2, 2> : launch_blocks<kL2, 2, 4>)
                               : (narrow ? launch_blocks<kL2, 1, 2> : launch_blocks<kL2, 1, 4>);
  launch_them(arguments, scratch, stream);
}

}  // namespace

void launch_candidates_sm90(const CodebookLookupArguments& arguments,
                            const CodebookTensorScratch& scratch, int multiprocessors,
                            Stream stream) {
  // Twice the rows for a block halve what L2 must give; not where that leaves multiprocessors idle.
  constexpr int64_t kTwoBlockRows = 2 * kConsumers * kBlockRows;
  const int64_t blocks =
      (arguments.num_rows + kTwoBlockRows - 1) / kTwoBlockRows * arguments.num_books;
  const auto launch_it = arguments.l2 ? launch_metric<true> : launch_metric<false>;
  launch_it(arguments, scratch, blocks >= multiprocessors, stream);
}

}  // namespace lexel::kernels::cuda
