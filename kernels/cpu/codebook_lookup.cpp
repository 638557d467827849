// Nearest code of each row, distance and argmax fused, so that the N x K scores never leave the registers.
//
// Codes are packed into panels of kVectors vectors: [bias][D] x [kVectors * lanes]. A step multiplies a tile of
// kTileRows rows with a panel: kTileRows x kVectors accumulators, begun with the bias (0 for the dot product,
// -|c|^2 / 2 for L2, -inf for padding and for codes that are not finite). Each lane of each row keeps its best score
// and the number of the panel that gave it. Only then is the winning panel of a row computed once more, by the
// same instructions, to find which of its codes had that score.
//
// Loops: chunks of codes that fit L3 (packed when their turn comes, so memory does not grow with K), threads,
// blocks of rows that fit L2, panels (each read once a block, then in L1), tiles of the block.

#include "kernels/cpu/codebook_lookup.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hwy/aligned_allocator.h>
#include <limits>

#include "kernels/cpu/machine.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/codebook_lookup.cpp"
// The accumulators are an array of vectors, which types without a size (SVE, RVV) do not allow; ARM uses NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef LEXEL_KERNELS_CPU_CODEBOOK_LOOKUP_ONCE
#define LEXEL_KERNELS_CPU_CODEBOOK_LOOKUP_ONCE
namespace lexel::kernels::cpu {

/// What the code of all targets shares: the arguments, and the chunk of codes in work.
struct Problem {
  const float* rows;
  int64_t num_rows;
  const float* codes;
  int64_t num_codes;
  int64_t width;
  bool l2;
  int64_t* ids;  // ids and scores of the best code so far
  float* score;
  int64_t first_panel;  // of the chunk
  int64_t num_panels;
  float* packed;  // (num_panels, 1 + width, panel codes)
};

/// Sizes of the target in use.
struct Tiling {
  int64_t tile_rows;
  int64_t panel_codes;
};

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;
constexpr int64_t kLanes = hn::MaxLanes(Lanes());

// As many accumulators as the registers hold beside the operands: 24 of 32, or 12 of 16.
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || !HWY_ARCH_X86;
constexpr int64_t kTileRows = kManyRegisters ? 8 : 6;
constexpr int64_t kVectors = kManyRegisters ? 3 : 2;
constexpr int64_t kPanelCodes = kVectors * kLanes;
constexpr int64_t kBlockBytes = 128 * 1024;  // rows and running winners of a block: within L2

Tiling TargetTiling() { return {kTileRows, kPanelCodes}; }

int64_t PanelSize(const Problem& problem) { return (problem.width + 1) * kPanelCodes; }

/// Packs panels first .. last-1 of the chunk.
void PackPanels(const Problem& problem, int64_t first, int64_t last) {
  constexpr int64_t kStep = 16;  // widths at a time: one cache line of a code
  const int64_t width = problem.width;
  for (int64_t panel = first; panel < last; ++panel) {
    float* const bias = problem.packed + panel * PanelSize(problem);
    float* const values = bias + kPanelCodes;  // (D, kPanelCodes)
    const int64_t first_code = (problem.first_panel + panel) * kPanelCodes;
    const int64_t num_codes = std::min(kPanelCodes, problem.num_codes - first_code);
    double squares[kPanelCodes] = {};
    for (int64_t begin = 0; begin < width; begin += kStep) {
      const int64_t end = std::min(width, begin + kStep);
      for (int64_t j = 0; j < num_codes; ++j) {
        const float* const source = problem.codes + (first_code + j) * width;
        for (int64_t d = begin; d < end; ++d) {
          values[d * kPanelCodes + j] = source[d];
          squares[j] += double{source[d]} * source[d];
        }
      }
    }
    for (int64_t j = 0; j < kPanelCodes; ++j) {
      if (j < num_codes && std::isfinite(squares[j])) {
        bias[j] = problem.l2 ? static_cast<float>(-0.5 * squares[j]) : 0.0F;
      } else {
        bias[j] = kMinusInfinity;
        for (int64_t d = 0; d < width; ++d) values[d * kPanelCodes + j] = 0.0F;
      }
    }
  }
}

/// Scores of kRows rows, packed (D, kRows), against one panel.
template <int64_t kRows>
HWY_INLINE void PanelScores(const float* HWY_RESTRICT rows, const float* HWY_RESTRICT panel,
                            int64_t width, Vector (&scores)[kRows][kVectors]) {
  const Lanes lanes;
  HWY_UNROLL(8)
  for (int64_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(8)
    for (int64_t v = 0; v < kVectors; ++v) scores[r][v] = hn::Load(lanes, panel + v * kLanes);
  }
  for (int64_t d = 0; d < width; ++d) {
    panel += kPanelCodes;
    Vector codes[kVectors];
    HWY_UNROLL(8)
    for (int64_t v = 0; v < kVectors; ++v) codes[v] = hn::Load(lanes, panel + v * kLanes);
    HWY_UNROLL(8)
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector value = hn::Set(lanes, rows[d * kRows + r]);
      HWY_UNROLL(8)
      for (int64_t v = 0; v < kVectors; ++v) {
        scores[r][v] = hn::MulAdd(value, codes[v], scores[r][v]);
      }
    }
  }
}

/// Best scores of a tile, lane by lane: best (kTileRows, kLanes), and the panel that gave each, as a float (exact up to
/// 2^24 panels).
HWY_NOINLINE void UpdateTile(const float* HWY_RESTRICT rows, const float* HWY_RESTRICT panel,
                             int64_t width, float panel_number, float* HWY_RESTRICT best,
                             float* HWY_RESTRICT best_panel) {
  const Lanes lanes;
  Vector scores[kTileRows][kVectors];
  PanelScores<kTileRows>(rows, panel, width, scores);
  const Vector number = hn::Set(lanes, panel_number);
  HWY_UNROLL(8)
  for (int64_t r = 0; r < kTileRows; ++r) {
    Vector top = scores[r][0];
    HWY_UNROLL(8)
    for (int64_t v = 1; v < kVectors; ++v) top = hn::Max(top, scores[r][v]);
    const Vector before = hn::Load(lanes, best + r * kLanes);
    const auto better =
        hn::Gt(top, before);  // strictly: the lowest panel keeps a tie; false for NaN
    hn::Store(hn::IfThenElse(better, top, before), lanes, best + r * kLanes);
    hn::Store(hn::IfThenElse(better, number, hn::Load(lanes, best_panel + r * kLanes)), lanes,
              best_panel + r * kLanes);
  }
}

/// Squared distance, summed in a fixed order.
float SquaredDistance(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, int64_t width) {
  constexpr int64_t kSums = 16;
  float sums[kSums] = {};
  int64_t d = 0;
  for (; d + kSums <= width; d += kSums) {
    for (int64_t i = 0; i < kSums; ++i) {
      const float difference = a[d + i] - b[d + i];
      sums[i] += difference * difference;
    }
  }
  for (; d < width; ++d) sums[0] += (a[d] - b[d]) * (a[d] - b[d]);
  float total = 0.0F;
  for (const float sum : sums) total += sum;
  return total;
}

/// Takes over the winner of the chunk for one row, from its lanes, if it beats the chunks before.
void UpdateRow(const Problem& problem, int64_t row, const float* best, const float* best_panel) {
  const float top = *std::max_element(best, best + kLanes);
  if (!(top > problem.score[row])) return;
  float lowest = std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < kLanes; ++i) {
    if (best[i] == top) lowest = std::min(lowest, best_panel[i]);
  }
  const auto panel = static_cast<int64_t>(lowest);

  const Lanes lanes;
  Vector vectors[1][kVectors];
  PanelScores<1>(problem.rows + row * problem.width, problem.packed + panel * PanelSize(problem),
                 problem.width, vectors);
  HWY_ALIGN float scores[kPanelCodes];
  for (int64_t v = 0; v < kVectors; ++v) hn::Store(vectors[0][v], lanes, scores + v * kLanes);
  const int64_t place = std::find(scores, scores + kPanelCodes, top) - scores;
  problem.ids[row] = (problem.first_panel + panel) * kPanelCodes + place;
  problem.score[row] = top;
}

/// Updates ids and scores of the rows of tiles first .. last-1 by the codes of the chunk.
void FindTiles(const Problem& problem, int64_t first, int64_t last) {
  const int64_t width = problem.width;
  const int64_t tile_size = kTileRows * width;
  const int64_t lanes_size = kTileRows * kLanes;
  const int64_t tile_bytes = static_cast<int64_t>(sizeof(float)) * (tile_size + 2 * lanes_size);
  const int64_t block = std::min(last - first, std::max<int64_t>(1, kBlockBytes / tile_bytes));
  const auto rows = hwy::AllocateAligned<float>(static_cast<size_t>(block * tile_size));
  const auto best = hwy::AllocateAligned<float>(static_cast<size_t>(block * lanes_size));
  const auto best_panel = hwy::AllocateAligned<float>(static_cast<size_t>(block * lanes_size));

  for (int64_t begin = first; begin < last; begin += block) {
    const int64_t num_tiles = std::min(block, last - begin);
    for (int64_t i = 0; i < num_tiles * kTileRows; ++i) {
      const int64_t row = begin * kTileRows + i;
      float* const target = rows.get() + i / kTileRows * tile_size + i % kTileRows;
      for (int64_t d = 0; d < width; ++d) {
        target[d * kTileRows] = row < problem.num_rows ? problem.rows[row * width + d] : 0.0F;
      }
    }
    std::fill_n(best.get(), num_tiles * lanes_size, kMinusInfinity);
    std::fill_n(best_panel.get(), num_tiles * lanes_size, 0.0F);
    for (int64_t panel = 0; panel < problem.num_panels; ++panel) {
      const float* const codes = problem.packed + panel * PanelSize(problem);
      for (int64_t tile = 0; tile < num_tiles; ++tile) {
        UpdateTile(rows.get() + tile * tile_size, codes, width, static_cast<float>(panel),
                   best.get() + tile * lanes_size, best_panel.get() + tile * lanes_size);
      }
    }
    const int64_t num_rows = std::min(num_tiles * kTileRows, problem.num_rows - begin * kTileRows);
    for (int64_t i = 0; i < num_rows; ++i) {
      UpdateRow(problem, begin * kTileRows + i, best.get() + i * kLanes,
                best_panel.get() + i * kLanes);
    }
  }
}

/// Turns the winners' sums into the scores that the caller gets.
void FinishRows(const Problem& problem, int64_t first, int64_t last) {
  const int64_t width = problem.width;
  for (int64_t row = first; row < last; ++row) {
    if (!std::isfinite(problem.score[row])) {  // the row, or every code, is not finite
      problem.ids[row] = 0;
      problem.score[row] = std::numeric_limits<float>::quiet_NaN();
    } else if (problem.l2) {
      problem.score[row] = SquaredDistance(problem.rows + row * width,
                                           problem.codes + problem.ids[row] * width, width);
    }
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(TargetTiling);
HWY_EXPORT(PackPanels);
HWY_EXPORT(FindTiles);
HWY_EXPORT(FinishRows);

void codebook_lookup(const float* rows, int64_t num_rows, const float* codes, int64_t num_codes,
                     int64_t width, bool l2, int64_t* ids, float* score) {
  constexpr int64_t kChunkFloats = 1 << 20;  // packed codes: 4 MiB
  constexpr int64_t kGrain = 1 << 16;        // multiplications that are worth a thread
  const Tiling tiling = HWY_DYNAMIC_DISPATCH(TargetTiling)();
  const int64_t panel_size = tiling.panel_codes * (width + 1);
  const int64_t num_panels = (num_codes + tiling.panel_codes - 1) / tiling.panel_codes;
  const int64_t chunk = std::min(num_panels, std::max<int64_t>(1, kChunkFloats / panel_size));
  const int64_t num_tiles = (num_rows + tiling.tile_rows - 1) / tiling.tile_rows;
  const auto packed = hwy::AllocateAligned<float>(static_cast<size_t>(chunk * panel_size));
  Problem problem{rows, num_rows, codes, num_codes, width, l2, ids, score, 0, 0, packed.get()};

  std::fill_n(ids, num_rows, 0);
  std::fill_n(score, num_rows, kMinusInfinity);
  for (int64_t first_panel = 0; first_panel < num_panels; first_panel += chunk) {
    problem.first_panel = first_panel;
    problem.num_panels = std::min(chunk, num_panels - first_panel);
    at::parallel_for(0, problem.num_panels, 1 + kGrain / panel_size,
                     [&](int64_t first, int64_t last) {
                       HWY_DYNAMIC_DISPATCH(PackPanels)(problem, first, last);
                     });
    const int64_t tile_cost = problem.num_panels * panel_size * tiling.tile_rows;
    at::parallel_for(0, num_tiles, 1 + kGrain / tile_cost, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(FindTiles)(problem, first, last);
    });
  }
  at::parallel_for(0, num_rows, 1 + kGrain / width, [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(FinishRows)(problem, first, last);
  });
}

std::string codebook_lookup_path() { return std::string("float32 (") + vector_target_name() + ")"; }

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
