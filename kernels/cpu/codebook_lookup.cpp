// Nearest code of each row, distance and argmax fused, so that the N x K scores never leave the registers.
//
// Codes are packed into panels (codebook_panels-inl.h). A step multiplies a tile of kTileRows rows with a panel:
// kTileRows x kVectors accumulators, begun with the panel's bias.
//
// For one code a row, each lane of each row keeps its best score and the number of the panel that gave it; only then is
// the winning panel of a row computed once more, by the same instructions, to find which of its codes had that score. For
// more codes a row, each score is compared with the last of the row's best, and the few that pass are put in.
//
// Many rows: chunks of codes that fit L3 (packed when their turn comes, so memory does not grow with K), threads share
// the rows. Few rows: threads share the codes, in chunks that fit L2. Then blocks of rows that fit L2, panels (each read
// once a block, then in L1), tiles of the block.

#include "kernels/cpu/codebook_lookup.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hwy/aligned_allocator.h>
#include <limits>
#include <vector>

#include "kernels/cpu/codebook_bfloat.h"
#include "kernels/cpu/codebook_few.h"
#include "kernels/cpu/codebook_panels.h"
#include "kernels/cpu/machine.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/codebook_lookup.cpp"
// The accumulators are an array of vectors, which types without a size (SVE, RVV) do not allow; ARM uses NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/codebook_panels-inl.h"

#ifndef LEXEL_KERNELS_CPU_CODEBOOK_LOOKUP_ONCE
#define LEXEL_KERNELS_CPU_CODEBOOK_LOOKUP_ONCE
namespace lexel::kernels::cpu {

/// Rows to be compared with the codes in play.
struct Rows {
  const float* values;  // (N, D)
  int64_t count;
};

/// Consecutive panels, packed one behind the other.
struct Panels {
  int64_t first;
  int64_t count;
  const float* values;
};

/// Sizes of the target in use.
struct Tiling {
  int64_t tile_rows;
  int64_t panel_codes;
};

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {

// As many accumulators as the registers hold beside the operands: 24 of 32, or 12 of 16.
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || !HWY_ARCH_X86;
constexpr int64_t kTileRows = kManyRegisters ? 8 : 6;
constexpr int64_t kVectors = kManyRegisters ? 3 : 2;
constexpr int64_t kPanelCodes = kVectors * kLanes;
constexpr int64_t kBlockBytes = 128 * 1024;  // rows and running winners of a block: within L2

Tiling TargetTiling() { return {kTileRows, kPanelCodes}; }

/// Packs panels first .. last-1 into `values`.
void PackPanels(const CodesInPlay& codes, int64_t first, int64_t last, float* values) {
  for (int64_t panel = first; panel < last; ++panel) {
    PackPanel<kPanelCodes>(codes, panel * kPanelCodes, values);
    values += (codes.width + 1) * kPanelCodes;
  }
}

/// Scores against one panel of kRows rows, packed (D, kStride).
template <int64_t kRows, int64_t kStride>
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
      const Vector value = hn::Set(lanes, rows[d * kStride + r]);
      HWY_UNROLL(8)
      for (int64_t v = 0; v < kVectors; ++v) {
        scores[r][v] = hn::MulAdd(value, codes[v], scores[r][v]);
      }
    }
  }
}

/// Best scores of a tile's first kRows rows, lane by lane: best (kTileRows, kLanes), and the panel that gave each, as a
/// float (exact up to 2^24 panels).
template <int64_t kRows>
HWY_NOINLINE void UpdateTile(const float* HWY_RESTRICT rows, const float* HWY_RESTRICT panel,
                             int64_t width, float panel_number, float* HWY_RESTRICT best,
                             float* HWY_RESTRICT best_panel) {
  const Lanes lanes;
  Vector scores[kRows][kVectors];
  PanelScores<kRows, kTileRows>(rows, panel, width, scores);
  const Vector number = hn::Set(lanes, panel_number);
  HWY_UNROLL(8)
  for (int64_t r = 0; r < kRows; ++r) {
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

using TileUpdate = void (*)(const float*, const float*, int64_t, float, float*, float*);

TileUpdate UpdateOf(int64_t num_rows) {
  if (num_rows <= 1) return UpdateTile<1>;
  if (num_rows <= 2) return UpdateTile<2>;
  if (num_rows <= 4) return UpdateTile<4>;
  return UpdateTile<kTileRows>;
}

/// Puts the codes of a panel that are among the best of their rows in; the tile has num_rows rows, from first_row on.
template <int64_t kRows>
HWY_NOINLINE void InsertTile(const float* HWY_RESTRICT rows, const float* HWY_RESTRICT panel,
                             const CodesInPlay& codes, int64_t first_place, int64_t first_row,
                             int64_t num_rows, const Winners& winners) {
  const Lanes lanes;
  Vector scores[kRows][kVectors];
  PanelScores<kRows, kTileRows>(rows, panel, codes.width, scores);
  const int64_t last = winners.top_k - 1;
  const float* const worst = winners.score + first_row * winners.top_k + last;
  HWY_ALIGN float values[kRows * kPanelCodes];
  bool found = false;
  HWY_UNROLL(8)
  for (int64_t r = 0; r < kRows; ++r) {
    Vector top = scores[r][0];
    HWY_UNROLL(8)
    for (int64_t v = 1; v < kVectors; ++v) top = hn::Max(top, scores[r][v]);
    const int64_t row = std::min(r, num_rows - 1);
    const auto better = hn::Gt(top, hn::Set(lanes, worst[row * winners.top_k]));
    found = !hn::AllFalse(lanes, better) || found;
    HWY_UNROLL(8)
    for (int64_t v = 0; v < kVectors; ++v) {
      hn::Store(scores[r][v], lanes, values + r * kPanelCodes + v * kLanes);
    }
  }
  if (!found) return;
  for (int64_t r = 0; r < std::min(kRows, num_rows); ++r) {
    for (int64_t j = 0; j < kPanelCodes; ++j) {
      const float value = values[r * kPanelCodes + j];
      if (value > worst[r * winners.top_k]) {
        winners.insert(first_row + r, codes.id(first_place + j), value);
      }
    }
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

/// Takes over the best of these panels for one row, from its lanes, if it beats the panels before.
void UpdateRow(const Rows& rows, const CodesInPlay& codes, const Panels& panels, int64_t row,
               const float* best, const float* best_panel, const Winners& winners) {
  const float top = *std::max_element(best, best + kLanes);
  if (!(top > winners.score[row])) return;
  float lowest = std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < kLanes; ++i) {
    if (best[i] == top) lowest = std::min(lowest, best_panel[i]);
  }
  const auto panel = static_cast<int64_t>(lowest);

  const Lanes lanes;
  Vector vectors[1][kVectors];
  PanelScores<1, 1>(rows.values + row * codes.width,
                    panels.values + panel * (codes.width + 1) * kPanelCodes, codes.width, vectors);
  HWY_ALIGN float scores[kPanelCodes];
  for (int64_t v = 0; v < kVectors; ++v) hn::Store(vectors[0][v], lanes, scores + v * kLanes);
  const int64_t place = std::find(scores, scores + kPanelCodes, top) - scores;
  winners.insert(row, codes.id((panels.first + panel) * kPanelCodes + place), scores[place]);
}

/// Updates the winners of the rows of tiles first .. last-1 by the codes of these panels.
void FindTiles(const Rows& rows, const CodesInPlay& codes, const Panels& panels, int64_t first,
               int64_t last, const Winners& winners) {
  const int64_t width = codes.width;
  const int64_t panel_size = (width + 1) * kPanelCodes;
  const int64_t tile_size = kTileRows * width;
  const int64_t lanes_size = kTileRows * kLanes;
  const int64_t tile_bytes = static_cast<int64_t>(sizeof(float)) * (tile_size + 2 * lanes_size);
  const int64_t block = std::min(last - first, std::max<int64_t>(1, kBlockBytes / tile_bytes));
  const auto packed = hwy::AllocateAligned<float>(static_cast<size_t>(block * tile_size));
  const auto best = hwy::AllocateAligned<float>(static_cast<size_t>(block * lanes_size));
  const auto best_panel = hwy::AllocateAligned<float>(static_cast<size_t>(block * lanes_size));

  for (int64_t begin = first; begin < last; begin += block) {
    const int64_t num_tiles = std::min(block, last - begin);
    const int64_t first_row = begin * kTileRows;
    const int64_t num_rows = std::min(num_tiles * kTileRows, rows.count - first_row);
    for (int64_t i = 0; i < num_tiles * kTileRows; ++i) {
      float* const target = packed.get() + i / kTileRows * tile_size + i % kTileRows;
      for (int64_t d = 0; d < width; ++d) {
        target[d * kTileRows] = i < num_rows ? rows.values[(first_row + i) * width + d] : 0.0F;
      }
    }
    if (winners.top_k > 1) {
      for (int64_t panel = 0; panel < panels.count; ++panel) {
        for (int64_t tile = 0; tile < num_tiles; ++tile) {
          InsertTile<kTileRows>(packed.get() + tile * tile_size, panels.values + panel * panel_size,
                                codes, (panels.first + panel) * kPanelCodes,
                                first_row + tile * kTileRows, num_rows - tile * kTileRows, winners);
        }
      }
      continue;
    }
    std::fill_n(best.get(), num_tiles * lanes_size, kMinusInfinity);
    std::fill_n(best_panel.get(), num_tiles * lanes_size, 0.0F);
    const TileUpdate update_last = UpdateOf(num_rows - (num_tiles - 1) * kTileRows);
    for (int64_t panel = 0; panel < panels.count; ++panel) {
      const float* const values = panels.values + panel * panel_size;
      const auto number = static_cast<float>(panel);
      int64_t tile = 0;
      for (; tile + 1 < num_tiles; ++tile) {
        UpdateTile<kTileRows>(packed.get() + tile * tile_size, values, width, number,
                              best.get() + tile * lanes_size, best_panel.get() + tile * lanes_size);
      }
      update_last(packed.get() + tile * tile_size, values, width, number,
                  best.get() + tile * lanes_size, best_panel.get() + tile * lanes_size);
    }
    for (int64_t i = 0; i < num_rows; ++i) {
      UpdateRow(rows, codes, panels, first_row + i, best.get() + i * kLanes,
                best_panel.get() + i * kLanes, winners);
    }
  }
}

/// Turns the sums of the winners into the scores that the caller gets.
void FinishRows(const LookupProblem& problem, int64_t first, int64_t last) {
  const int64_t width = problem.width, top_k = problem.top_k;
  for (int64_t place = first * top_k; place < last * top_k; ++place) {
    if (!std::isfinite(problem.score[place])) {  // the row is not finite, or no code is left
      problem.ids[place] = 0;
      problem.score[place] = std::numeric_limits<float>::quiet_NaN();
    } else if (problem.l2) {
      problem.score[place] = SquaredDistance(problem.rows + place / top_k * width,
                                             problem.codes + problem.ids[place] * width, width);
    }
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {
namespace {

HWY_EXPORT(TargetTiling);
HWY_EXPORT(PackPanels);
HWY_EXPORT(FindTiles);
HWY_EXPORT(FinishRows);

LookupPath forced_path = LookupPath::kFastest;
const BfloatTiles* forced_tiles = nullptr;

constexpr int64_t kGrain = 1 << 16;  // multiplications that are worth a thread

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

/// Threads share the rows.
void find_many(const Rows& rows, const CodesInPlay& codes, const Winners& winners) {
  constexpr int64_t kChunkFloats = 1 << 20;  // packed codes: 4 MiB
  const Tiling tiling = HWY_DYNAMIC_DISPATCH(TargetTiling)();
  const int64_t panel_size = tiling.panel_codes * (codes.width + 1);
  const int64_t num_panels = divide_up(codes.count, tiling.panel_codes);
  const int64_t num_tiles = divide_up(rows.count, tiling.tile_rows);
  const int64_t chunk = std::min(num_panels, std::max<int64_t>(1, kChunkFloats / panel_size));
  const auto packed = hwy::AllocateAligned<float>(static_cast<size_t>(chunk * panel_size));
  for (int64_t begin = 0; begin < num_panels; begin += chunk) {
    const Panels panels{begin, std::min(chunk, num_panels - begin), packed.get()};
    at::parallel_for(0, panels.count, 1 + kGrain / panel_size, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(PackPanels)
      (codes, begin + first, begin + last, packed.get() + first * panel_size);
    });
    const int64_t tile_cost = panels.count * panel_size * tiling.tile_rows;
    at::parallel_for(0, num_tiles, 1 + kGrain / tile_cost, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(FindTiles)(rows, codes, panels, first, last, winners);
    });
  }
}

/// Winners among panels first .. last-1, packed in small chunks.
void find_in_panels(const Rows& rows, const CodesInPlay& codes, int64_t first, int64_t last,
                    const Winners& winners) {
  constexpr int64_t kChunkFloats = 1 << 16;  // packed codes: 256 KiB
  const Tiling tiling = HWY_DYNAMIC_DISPATCH(TargetTiling)();
  const int64_t panel_size = tiling.panel_codes * (codes.width + 1);
  const int64_t num_tiles = divide_up(rows.count, tiling.tile_rows);
  const int64_t chunk = std::min(last - first, std::max<int64_t>(1, kChunkFloats / panel_size));
  const auto packed = hwy::AllocateAligned<float>(static_cast<size_t>(chunk * panel_size));
  for (int64_t begin = first; begin < last; begin += chunk) {
    const Panels panels{begin, std::min(chunk, last - begin), packed.get()};
    HWY_DYNAMIC_DISPATCH(PackPanels)(codes, begin, begin + panels.count, packed.get());
    HWY_DYNAMIC_DISPATCH(FindTiles)(rows, codes, panels, 0, num_tiles, winners);
  }
}

/// Winners among panels first .. last-1, which a thread works on; the winners hold -infinity.
void find_in_part(const Rows& rows, const CodesInPlay& codes, int64_t first, int64_t last,
                  const Winners& winners) {
  const int64_t panel_codes = HWY_DYNAMIC_DISPATCH(TargetTiling)().panel_codes;
  const bool scanned = forced_path != LookupPath::kPanels && rows.count <= kMaxScannedRows &&
                       scan_codes(rows.values, rows.count, codes, first * panel_codes,
                                  std::min(last * panel_codes, codes.count), winners);
  if (scanned) return;
  std::fill_n(winners.score, rows.count * winners.top_k, kMinusInfinity);
  find_in_panels(rows, codes, first, last, winners);
}

/// Threads share the codes: each finds winners of its part, and the parts are merged in their order.
void find_few(const Rows& rows, const CodesInPlay& codes, const Winners& winners) {
  const Tiling tiling = HWY_DYNAMIC_DISPATCH(TargetTiling)();
  const int64_t num_panels = divide_up(codes.count, tiling.panel_codes);
  const int64_t work = codes.count * codes.width * rows.count;
  const int64_t num_parts =
      std::max<int64_t>(1, std::min({int64_t{at::get_num_threads()}, num_panels, work / kGrain}));
  if (num_parts == 1) return find_in_part(rows, codes, 0, num_panels, winners);
  const int64_t results = rows.count * winners.top_k;
  std::vector<int64_t> ids(static_cast<size_t>(num_parts * results), 0);
  std::vector<float> score(static_cast<size_t>(num_parts * results), kMinusInfinity);
  at::parallel_for(0, num_parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      find_in_part(rows, codes, part * num_panels / num_parts, (part + 1) * num_panels / num_parts,
                   {winners.top_k, ids.data() + part * results, score.data() + part * results});
    }
  });
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) % results / winners.top_k;
    winners.insert(row, ids[i], score[i]);
  }
}

/// By float32 throughout.
void find(const Rows& rows, const CodesInPlay& codes, const Winners& winners) {
  constexpr int64_t kFewRows = 32;
  if (rows.count < kFewRows) {
    find_few(rows, codes, winners);
  } else {
    find_many(rows, codes, winners);
  }
}

/// The rows that find_by_bfloat left, by float32, gathered in blocks.
void find_left(const Rows& rows, int64_t num_left, const CodesInPlay& codes,
               const Winners& winners) {
  if (num_left == rows.count) {
    std::fill_n(winners.score, rows.count, kMinusInfinity);
    return find(rows, codes, winners);
  }
  constexpr int64_t kBlockFloats = 1 << 18;  // gathered rows: 1 MiB
  const auto block =
      static_cast<size_t>(std::min(num_left, std::max<int64_t>(1, kBlockFloats / codes.width)));
  std::vector<float> gathered;
  std::vector<int64_t> numbers, ids(block);
  std::vector<float> score(block);
  for (int64_t row = 0; row < rows.count; ++row) {
    if (winners.ids[row] == kLeftRow) {
      const float* const values = rows.values + row * codes.width;
      gathered.insert(gathered.end(), values, values + codes.width);
      numbers.push_back(row);
      --num_left;
    }
    if (numbers.size() < block && (num_left > 0 || numbers.empty())) continue;
    std::fill(score.begin(), score.end(), kMinusInfinity);
    find({gathered.data(), static_cast<int64_t>(numbers.size())}, codes,
         {1, ids.data(), score.data()});
    for (size_t i = 0; i < numbers.size(); ++i) {
      winners.ids[numbers[i]] = ids[i];
      winners.score[numbers[i]] = score[i];
    }
    gathered.clear();
    numbers.clear();
  }
}

/// The tiles to look for candidates with; null: float32 throughout.
const BfloatTiles* tiles_for(const LookupProblem& problem, int64_t num_codes) {
  if (problem.top_k > 1) return nullptr;
  if (forced_path != LookupPath::kFastest) return forced_tiles;
  // Fewer rows do not pay the rounding of the codes; fewer codes or widths, the second look at the best.
  constexpr int64_t kMinRows = 64, kMinCodes = 512, kMinWidth = 8;
  const bool worth =
      problem.num_rows >= kMinRows && num_codes >= kMinCodes && problem.width >= kMinWidth;
  return worth ? bfloat_tiles() : nullptr;
}

}  // namespace

void codebook_lookup(const LookupProblem& problem) {
  std::vector<int32_t> allowed;
  CodesInPlay codes{problem.codes, problem.width, problem.l2, nullptr, problem.num_codes};
  if (problem.allowed != nullptr) {
    for (int64_t id = 0; id < problem.num_codes; ++id) {
      if (problem.allowed[id]) allowed.push_back(static_cast<int32_t>(id));
    }
    codes.ids = allowed.data();
    codes.count = static_cast<int64_t>(allowed.size());
  }
  const Rows rows{problem.rows, problem.num_rows};
  const Winners winners{problem.top_k, problem.ids, problem.score};
  std::fill_n(problem.ids, problem.num_rows * problem.top_k, 0);
  std::fill_n(problem.score, problem.num_rows * problem.top_k, kMinusInfinity);
  if (codes.count > 0) {
    if (const BfloatTiles* const tiles = tiles_for(problem, codes.count)) {
      const int64_t left = find_by_bfloat(*tiles, rows.values, rows.count, codes, winners);
      if (left > 0) find_left(rows, left, codes, winners);
    } else {
      find(rows, codes, winners);
    }
  }
  at::parallel_for(0, problem.num_rows, 1 + kGrain / (problem.width * problem.top_k),
                   [&](int64_t first, int64_t last) {
                     HWY_DYNAMIC_DISPATCH(FinishRows)(problem, first, last);
                   });
}

std::string codebook_lookup_path() {
  const BfloatTiles* const tiles = bfloat_tiles();
  return (tiles == nullptr ? std::string("float32")
                           : std::string(tiles->name) + ", rescored in float32") +
         " (" + vector_target_name() + ")";
}

void force_codebook_lookup(LookupPath path, const BfloatTiles* tiles) {
  forced_path = path;
  forced_tiles = path == LookupPath::kBfloat ? tiles : nullptr;
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
