// The look-up by mma.sync, for sm_80 and all later devices but sm_90: one pass over the codes, candidates as
// codebook_candidates.h says.
//
// A block of 8 warps owns kBlocks x 128 rows, float16 in shared memory; a warp kBlocks times 16 of them. The codes come by
// cp.async in pieces, the 64 codes of a slot and one chunk of widths, through a ring; every warp multiplies each piece
// with its rows. Four matrices of codes, loaded at once, serve 2 kBlocks products of 16 x 8 x 16.
//
// Registers (nvcc 13.0; sm_80, 100, 120): 66 to 195, no spills.

#include "kernels/cuda/codebook_candidates.h"
#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/async_copy.h"
#include "kernels/cuda/ptx/mma.h"
#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kPieceCodes = CodeTiles::kCodes / kSlots;
constexpr int kStages = 4;
constexpr int kBiasBytes = kPieceCodes * sizeof(float);
constexpr int kWarpCandidates = 16 * 4 * kSlots;  // of 16 rows: a row's quad may list all its slots

template <int kBlocks, int kSteps>
struct Layout {
  static constexpr int kChunkWidth = 16 * kSteps;
  static constexpr int kRows = kBlocks * kWarps * 16;
  static constexpr int kPieceBytes = kPieceCodes * kChunkWidth * 2;
  static constexpr int kStageBytes = kPieceBytes + kBiasBytes;
  static constexpr int kFacts = kStages * kStageBytes;  // the ring lies before them
  static constexpr int kTile = kFacts + kRows * 4 * 4;
  static_assert(kWarps * kBlocks * kWarpCandidates * 4 <= kFacts, "lists take the ring's place");

  static int total(int num_chunks) { return kTile + num_chunks * kRows * kChunkWidth * 2; }
};

/// Address of the lane's row of four 8 x 8 matrices in a matrix of rows laid out as CodeTiles: rows 8 (first + i) and on, i
/// = 0, 1, widths 16 step and on. Rows first (A's order) or widths first (B's).
template <int kSteps, bool kRowsFirst>
__device__ __forceinline__ const unsigned char* matrix_row(const unsigned char* matrix, int first,
                                                           int step, int lane) {
  const int low = lane / 8 % 2, high = lane / 16;
  const int eight_rows = first + (kRowsFirst ? low : high);
  const int octet = 2 * step + (kRowsFirst ? high : low);
  return matrix + (eight_rows * (2 * kSteps) + octet) * 128 + lane % 8 * 16;
}

/// Threads that the compiler makes room for: left to itself it takes 128 registers where 142 are needed, and spills.
constexpr int bound_of(int blocks, int steps) {
  return blocks == 2 && steps == 2 ? 3 * kThreads / 2 : kThreads;
}

/// A chunk has 16 kSteps widths; more than one only with kChunked.
template <bool kL2, int kBlocks, int kSteps, bool kChunked>
__global__ void __launch_bounds__(bound_of(kBlocks, kSteps))
    candidates_mma(CodebookLookupArguments a, CodebookTensorScratch t) {
  using Places = Layout<kBlocks, kSteps>;
  constexpr int kRows = Places::kRows;
  auto* const shared = ptx::dynamic_shared<unsigned char>();
  const int64_t row_blocks = (a.num_rows + kRows - 1) / kRows;
  const int64_t book = blockIdx.x / row_blocks;
  const int64_t first_row = blockIdx.x % row_blocks * kRows;
  const auto thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarp, lane = thread % kWarp;
  const int num_chunks = kChunked ? t.shape.num_chunks : 1;
  const auto num_pieces = static_cast<int>(t.shape.num_tiles) * kSlots * num_chunks;
  const auto* const tiles =
      reinterpret_cast<const unsigned char*>(t.tiles + book * t.shape.halves());
  const float* const tile_bias = t.tile_bias + book * t.shape.num_tiles * CodeTiles::kCodes;

  // Piece p: chunk p % num_chunks of slot p / num_chunks. In memory a chunk's four slots lie together.
  const auto start_piece = [&](int piece) {
    if (piece < num_pieces) {
      unsigned char* const to = shared + piece % kStages * Places::kStageBytes;
      const int chunk = piece % num_chunks, slot = piece / num_chunks;
      const int number = (slot / kSlots * num_chunks + chunk) * kSlots + slot % kSlots;
      const unsigned char* const from =
          tiles + static_cast<uint32_t>(number) * Places::kPieceBytes;  // of 256 MiB at most
#pragma unroll
      for (int i = 0; i < Places::kPieceBytes; i += kThreads * 16) {
        ptx::start_copy_16(to + i + thread * 16, from + i + thread * 16);
      }
      if (kL2 && thread < kBiasBytes / 16) {
        ptx::start_copy_16(to + Places::kPieceBytes + thread * 16,
                           tile_bias + int64_t{slot} * kPieceCodes + thread * 4);
      }
    }
    ptx::close_copy_group();
  };
  for (int i = 0; i < kStages - 1; ++i) start_piece(i);

  auto* const facts = reinterpret_cast<float*>(shared + Places::kFacts);
  const SharedRows rows{facts, facts + kRows, facts + 2 * kRows,
                        reinterpret_cast<int*>(facts + 3 * kRows)};
  unsigned char* const row_tile = shared + Places::kTile;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    const int place = b * (kThreads / 2) + thread / 2;
    load_row<kRows>(a, t, book, first_row + place, thread % 2, place, place,
                    reinterpret_cast<uint16_t*>(row_tile), rows);
  }
  __syncthreads();

  const int first_of_warp = warp * kBlocks * 16, first_of_lane = first_of_warp + lane / 4;
  RowSlots slots[kBlocks][2];
  float scale[kBlocks][2];
  // The rows' matrices stay in registers where they are few, else they are read for each piece.
  constexpr bool kKeepLeft = !kChunked && kSteps == 2;
  uint32_t left[kBlocks][kKeepLeft ? kSteps : 1][4];
  const auto load_left = [&](int chunk, int step) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      ptx::load_matrices(
          left[b][kKeepLeft ? step : 0],
          matrix_row<kSteps, true>(row_tile + chunk * kRows * Places::kChunkWidth * 2,
                                   first_of_warp / 8 + 2 * b, step, lane));
    }
  };
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      slots[b][h].clear();
      scale[b][h] = rows.scale[first_of_lane + b * 16 + 8 * h];
    }
  }
  if constexpr (kKeepLeft) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) load_left(0, step);
  }

  int piece = 0;
  for (int tile = 0; tile < static_cast<int>(t.shape.num_tiles); ++tile) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      float sums[kBlocks][8][4] = {};
      const float* bias = nullptr;
      for (int chunk = 0; chunk < num_chunks; ++chunk, ++piece) {
        ptx::wait_for_copies<kStages - 2>();
        __syncthreads();  // the piece is here for all, and all have left the one before, whose place is free
        start_piece(piece + kStages - 1);
        const unsigned char* const codes = shared + piece % kStages * Places::kStageBytes;
        bias = reinterpret_cast<const float*>(codes + Places::kPieceBytes);
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          if constexpr (!kKeepLeft) load_left(chunk, step);
          const int kept = kKeepLeft ? step : 0;
#pragma unroll
          for (int pair = 0; pair < 4; ++pair) {
            uint32_t right[4];
            ptx::load_matrices(right, matrix_row<kSteps, false>(codes, 2 * pair, step, lane));
#pragma unroll
            for (int b = 0; b < kBlocks; ++b) {
              ptx::multiply_half(sums[b][2 * pair], left[b][kept], right[0], right[1]);
              ptx::multiply_half(sums[b][2 * pair + 1], left[b][kept], right[2], right[3]);
            }
          }
        }
      }
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          slots[b][h].template meet<kL2>(s, tile, &sums[b][0][0] + 2 * h, bias, scale[b][h],
                                         lane % 4);
        }
      }
    }
  }

  ptx::wait_for_copies<0>();
  __syncthreads();  // the lists take the ring's place
  auto* const list = reinterpret_cast<unsigned*>(shared) + warp * kBlocks * kWarpCandidates;
  int count = 0;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      list_candidates(slots[b][h], first_of_lane + b * 16 + 8 * h, rows, list, count);
    }
  }
  score_candidates(a, book, first_row, list, count, rows);
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    finish_rows(a, t, book, first_row, first_of_warp + b * 16, rows);
  }
}

template <bool kL2, int kBlocks, int kSteps, bool kChunked = false>
void launch_blocks(const CodebookLookupArguments& arguments, const CodebookTensorScratch& scratch,
                   Stream stream) {
  using Places = Layout<kBlocks, kSteps>;
  const int64_t blocks =
      (arguments.num_rows + Places::kRows - 1) / Places::kRows * arguments.num_books;
  LaunchShape shape{static_cast<unsigned>(blocks), kThreads};
  shape.shared_bytes = static_cast<std::size_t>(Places::total(scratch.shape.num_chunks));
  launch("candidates_mma", candidates_mma<kL2, kBlocks, kSteps, kChunked>, shape, stream, arguments,
         scratch);
}

template <bool kL2>
void launch_metric(const CodebookLookupArguments& arguments, const CodebookTensorScratch& scratch,
                   bool two_blocks, Stream stream) {
  if (scratch.shape.num_chunks > 1) {
    return launch_blocks<kL2, 1, 4, true>(arguments, scratch, stream);
  }
  const bool narrow = scratch.shape.chunk_width == 32;
  const auto launch_them = two_blocks
                               ? (narrow ? launch_blocks<kL2, 2, 2> : launch_blocks<kL2, 2, 4>)
                               : (narrow ? launch_blocks<kL2, 1, 2> : launch_blocks<kL2, 1, 4>);
  launch_them(arguments, scratch, stream);
}

}  // namespace

void launch_candidates_mma(const CodebookLookupArguments& arguments,
                           const CodebookTensorScratch& scratch, int multiprocessors,
                           Stream stream) {
  // Two blocks of rows for a warp halve its reading of codes; not where that leaves multiprocessors idle.
  constexpr int64_t kTwoBlockRows = 2 * kWarps * 16;
  const int64_t blocks =
      (arguments.num_rows + kTwoBlockRows - 1) / kTwoBlockRows * arguments.num_books;
  const auto launch_it = arguments.l2 ? launch_metric<true> : launch_metric<false>;
  launch_it(arguments, scratch, blocks >= multiprocessors, stream);
}

}  // namespace lexel::kernels::cuda
