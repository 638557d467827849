// Candidates in bfloat16, decided in float32.
//
// Let s be the float32 score of a row with a code (the sum that codebook_lookup.cpp makes), a its bfloat16 score, and E a
// bound of |s - a| over all codes. The best code has a >= max(a) - 2 E: so every code with a score below the running
// threshold  max(a so far) - 2 E  is out. A panel with a score above it becomes an event of the row; when all codes of
// the chunk are through, the codes of the events that still stand are scored as the float32 code does, to the bit.
//
// With x' and c' the values rounded to bfloat16, b the bias, u = 2^-24:
//   |x.c - x'.c'| <= |x| |c - c'| + |x - x'| |c'|                 Cauchy-Schwarz, the norms as they are
//   rounding of both sums <= 2.2 (D + 4) u (|b| + |x|' |c|')      any order, one rounding a product and a few more
//   underflow, where the machine takes subnormal numbers for 0 <= 4 (D + 4) 2^-126 (1 + |x|' + |c|')
// where |.|' is |x| + |x - x'|, and the codes' norms are the largest of the chunk.

#include "kernels/cpu/codebook_bfloat.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <hwy/aligned_allocator.h>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/codebook_bfloat.cpp"
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/codebook_panels-inl.h"
#include "kernels/cpu/codebook_rescoring-inl.h"

#ifndef LEXEL_KERNELS_CPU_CODEBOOK_BFLOAT_ONCE
#define LEXEL_KERNELS_CPU_CODEBOOK_BFLOAT_ONCE
namespace lexel::kernels::cpu {

/// Bounds of the norms of vectors: as they are, and of what rounding to bfloat16 took off; and of their bias.
struct Norms {
  float size = 0.0F, rounding = 0.0F, bias = 0.0F;
};

/// A panel of which some scores of a row were at or above its threshold.
struct Event {
  float largest;   // score
  int32_t panel;   // of the chunk
  uint64_t codes;  // bit j: code j of the panel was at or above the threshold
};

constexpr int64_t kMaxEvents = 32;  // of a row, at a time
constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kNever = std::numeric_limits<float>::infinity();  // threshold that no score reaches

/// A row of the block in work.
struct RowState {
  int64_t num_events = 0;
  double margin = 0.0;  // E
  bool left = false;    // to the float32 code
};

/// The block of rows that a thread has in work.
struct Block {
  int64_t first_row;
  int64_t num_rows;
  float* threshold;  // (block rows)
  RowState* states;  // (block rows)
  Event* events;     // (block rows, kMaxEvents)
};

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {

/// x rounded to bfloat16 (to nearest, ties to even; subnormal numbers to 0), as a float.
HWY_INLINE Vector RoundToBfloat(Vector x) {
  const Lanes lanes;
  const hn::RebindToUnsigned<Lanes> bits;
  const auto value = hn::BitCast(bits, x);
  const auto odd = hn::And(hn::ShiftRight<16>(value), hn::Set(bits, 1));
  const auto rounded =
      hn::And(hn::Add(value, hn::Add(odd, hn::Set(bits, 0x7FFF))), hn::Set(bits, 0xFFFF0000));
  const Vector smallest = hn::Set(lanes, std::numeric_limits<float>::min());
  return hn::IfThenElseZero(hn::Ge(hn::Abs(x), smallest), hn::BitCast(lanes, rounded));
}

/// A bound of the norm from a float32 sum of `width` squares: rounding, and squares too small for float32.
float NormBound(float squares, int64_t width) {
  return std::sqrt(squares) * 1.001F + std::sqrt(static_cast<float>(width)) * 0x1p-63F;
}

/// Packs one panel in float32, then rounds it: biases, then (width / 2, kCodes, 2) bfloat16.
template <int64_t kCodes>
Norms RoundPanel(const CodesInPlay& codes, int64_t panel_number, int64_t padded_width,
                 float* HWY_RESTRICT exact, float* HWY_RESTRICT panel) {
  const Lanes lanes;
  const hn::RebindToUnsigned<Lanes> bits;
  PackPanel<kCodes>(codes, panel_number * kCodes, exact);
  std::copy_n(exact, kCodes, panel);
  const float* const values = exact + kCodes;
  auto* const pairs = reinterpret_cast<uint32_t*>(panel + kCodes);
  Vector largest = hn::Zero(lanes), largest_rounding = largest;
  for (int64_t j = 0; j < kCodes; j += kLanes) {
    Vector squares = hn::Zero(lanes), rounding = squares;
    for (int64_t d = 0; d < padded_width; d += 2) {
      Vector a = hn::Zero(lanes), b = a;
      if (d < codes.width) a = hn::Load(lanes, values + d * kCodes + j);
      if (d + 1 < codes.width) b = hn::Load(lanes, values + (d + 1) * kCodes + j);
      const Vector near_a = RoundToBfloat(a), near_b = RoundToBfloat(b);
      const Vector off_a = hn::Sub(a, near_a), off_b = hn::Sub(b, near_b);
      squares = hn::MulAdd(a, a, hn::MulAdd(b, b, squares));
      rounding = hn::MulAdd(off_a, off_a, hn::MulAdd(off_b, off_b, rounding));
      const auto pair =
          hn::Or(hn::ShiftRight<16>(hn::BitCast(bits, near_a)), hn::BitCast(bits, near_b));
      hn::Store(pair, bits, pairs + d / 2 * kCodes + j);
    }
    largest = hn::Max(largest, squares);
    largest_rounding = hn::Max(largest_rounding, rounding);
  }
  Norms norms;
  norms.size = NormBound(hn::GetLane(hn::MaxOfLanes(lanes, largest)), codes.width);
  norms.rounding = NormBound(hn::GetLane(hn::MaxOfLanes(lanes, largest_rounding)), codes.width);
  if (codes.l2) {
    for (int64_t j = 0; j < kCodes; ++j) {
      if (panel[j] != kMinusInfinity) norms.bias = std::max(norms.bias, -panel[j]);
    }
  }
  return norms;
}

/// Packs panels first .. last-1 into `values`; returns the largest of their norms.
Norms RoundPanels(const BfloatTiles& tiles, const CodesInPlay& codes, int64_t first, int64_t last,
                  int64_t padded_width, float* values) {
  const auto exact =
      hwy::AllocateAligned<float>(static_cast<size_t>((codes.width + 1) * tiles.panel_codes));
  Norms all;
  for (int64_t panel = first; panel < last; ++panel) {
    const Norms norms = tiles.panel_codes == 48
                            ? RoundPanel<48>(codes, panel, padded_width, exact.get(), values)
                            : RoundPanel<32>(codes, panel, padded_width, exact.get(), values);
    all.size = std::max(all.size, norms.size);
    all.rounding = std::max(all.rounding, norms.rounding);
    all.bias = std::max(all.bias, norms.bias);
    values += (padded_width / 2 + 1) * tiles.panel_codes;
  }
  return all;
}

/// Rounds one row of `width` values and pads it with zeros.
Norms RoundRow(const float* HWY_RESTRICT row, int64_t width, int64_t padded_width,
               uint16_t* HWY_RESTRICT target) {
  const Lanes lanes;
  const hn::RebindToUnsigned<Lanes> bits;
  const hn::Rebind<uint16_t, Lanes> half;
  Vector squares = hn::Zero(lanes), rounding = squares;
  HWY_ALIGN float rest[kLanes] = {};
  for (int64_t d = 0; d < width; d += kLanes) {
    const bool whole = d + kLanes <= width;
    if (!whole) std::copy(row + d, row + width, rest);
    const Vector x = hn::LoadU(lanes, whole ? row + d : rest);
    const Vector near = RoundToBfloat(x);
    const Vector off = hn::Sub(x, near);
    squares = hn::MulAdd(x, x, squares);
    rounding = hn::MulAdd(off, off, rounding);
    HWY_ALIGN uint16_t rounded[kLanes];
    hn::Store(hn::TruncateTo(half, hn::ShiftRight<16>(hn::BitCast(bits, near))), half, rounded);
    std::copy_n(rounded, std::min(kLanes, width - d), target + d);
  }
  std::fill(target + width, target + padded_width, uint16_t{0});
  return {NormBound(hn::GetLane(hn::SumOfLanes(lanes, squares)), width),
          NormBound(hn::GetLane(hn::SumOfLanes(lanes, rounding)), width), 0.0F};
}

/// Bit j: scores[j] >= threshold.
HWY_INLINE uint64_t AtLeast(const float* scores, int64_t count, float threshold) {
  const Lanes lanes;
  uint64_t result = 0;
  for (int64_t j = 0; j < count; j += kLanes) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(lanes, hn::Ge(hn::LoadU(lanes, scores + j), hn::Set(lanes, threshold)),
                      bytes);
    uint64_t bits = 0;
    std::memcpy(&bits, bytes, sizeof bits);
    result |= bits << j;
  }
  return result;
}

/// Takes a panel's scores (count) into the row's events, and raises its threshold.
void NoteEvent(const Block& block, int64_t row, int64_t panel, const float* scores, int64_t count) {
  const Lanes lanes;
  Vector top = hn::LoadU(lanes, scores);
  for (int64_t j = kLanes; j < count; j += kLanes) top = hn::Max(top, hn::LoadU(lanes, scores + j));
  const float largest = hn::GetLane(hn::MaxOfLanes(lanes, top));
  RowState& state = block.states[row];
  Event* const events = block.events + row * kMaxEvents;
  const double bound = double{largest} - 2.0 * state.margin;
  const auto raised = static_cast<float>(bound - std::abs(bound) * 0x1p-23);  // rounded down
  const float threshold = std::max(block.threshold[row], raised);
  block.threshold[row] = threshold;
  if (state.num_events == kMaxEvents) {
    const auto* const end = std::remove_if(
        events, events + kMaxEvents, [threshold](const Event& e) { return e.largest < threshold; });
    state.num_events = end - events;
    if (state.num_events == kMaxEvents) {
      state.left = true;
      block.threshold[row] = kNever;
      return;
    }
  }
  events[state.num_events++] = {largest, static_cast<int32_t>(panel),
                                AtLeast(scores, count, threshold)};
}

/// Scores the codes of the events that still stand.
void DecideBlock(const BfloatTiles& tiles, const float* rows, const CodesInPlay& codes,
                 const Block& block, int64_t first_panel, const float* panels, int64_t panel_size,
                 const Winners& winners) {
  Rescoring rescoring(rows, codes, winners);
  for (int64_t row = 0; row < block.num_rows; ++row) {
    const RowState& state = block.states[row];
    if (state.left) continue;
    const Event* const events = block.events + row * kMaxEvents;
    for (const Event* event = events; event < events + state.num_events; ++event) {
      if (event->largest < block.threshold[row]) continue;
      const float* const bias = panels + event->panel * panel_size;
      for (uint64_t bits = event->codes; bits != 0; bits &= bits - 1) {
        const int64_t j = __builtin_ctzll(bits);
        rescoring.add(block.first_row + row, (first_panel + event->panel) * tiles.panel_codes + j,
                      bias[j]);
      }
    }
  }
  rescoring.finish();
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {
namespace {

HWY_EXPORT(RoundPanels);
HWY_EXPORT(RoundRow);
HWY_EXPORT(NoteEvent);
HWY_EXPORT(DecideBlock);

int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

/// E of the comment at the top; infinity where the values are too large for it.
double error_bound(const Norms& row, const Norms& codes, int64_t width) {
  const double row_size = double{row.size} + row.rounding;
  const double code_size = double{codes.size} + codes.rounding;
  const double largest = codes.bias + row_size * code_size;
  if (!(largest < 1e37) || !(row_size < 1e37) || !(code_size < 1e37)) {
    return std::numeric_limits<double>::infinity();
  }
  const auto terms = static_cast<double>(width + 4);
  return double{row.size} * codes.rounding + row.rounding * code_size +
         2.2 * terms * 0x1p-24 * largest + 4.0 * terms * 0x1p-126 * (1.0 + row_size + code_size);
}

/// What the threads of a call share.
struct Search {
  const BfloatTiles& tiles;
  const float* rows;
  const CodesInPlay& codes;
  const Winners& winners;
  int64_t padded_width;
  int64_t panel_size;
  std::atomic<int64_t> num_tried{0};  // rows through, in the first chunk
  std::atomic<int64_t> num_left{0};   // of which left
  std::atomic<bool> in_vain{false};   // most rows are left: not worth going on
};

struct Chunk {
  int64_t first_panel;
  int64_t num_panels;
  const float* values;
  Norms norms;
};

/// Buffers of a thread's block of rows.
struct BlockBuffers {
  explicit BlockBuffers(const Search& search, int64_t rows)
      : values(hwy::AllocateAligned<uint16_t>(static_cast<size_t>(rows * search.padded_width))),
        scores(hwy::AllocateAligned<float>(
            static_cast<size_t>(search.tiles.tile_rows * search.tiles.panel_codes))),
        threshold(hwy::AllocateAligned<float>(static_cast<size_t>(rows))),
        states(static_cast<size_t>(rows)),
        events(static_cast<size_t>(rows * kMaxEvents)) {}

  hwy::AlignedFreeUniquePtr<uint16_t[]> values;
  hwy::AlignedFreeUniquePtr<float[]> scores;
  hwy::AlignedFreeUniquePtr<float[]> threshold;
  std::vector<RowState> states;
  std::vector<Event> events;
};

/// Rounds the block's rows, and sets their thresholds by the chunks before.
void start_block(const Search& search, const Chunk& chunk, const Block& block, int64_t padded_rows,
                 uint16_t* values) {
  const int64_t width = search.codes.width;
  for (int64_t i = 0; i < padded_rows; ++i) {
    uint16_t* const target = values + i * search.padded_width;
    RowState& state = block.states[i];
    state = {};
    if (i >= block.num_rows || search.winners.ids[block.first_row + i] == kLeftRow) {
      state.left = true;
    } else {
      const int64_t row = block.first_row + i;
      const Norms norms = HWY_DYNAMIC_DISPATCH(RoundRow)(search.rows + row * width, width,
                                                         search.padded_width, target);
      state.margin = error_bound(norms, chunk.norms, width);
      state.left = !std::isfinite(state.margin);
      const float best = search.winners.score[row];
      const double bound = double{best} - state.margin;
      block.threshold[i] =
          best == kMinusInfinity
              ? kLowest
              : std::max(kLowest, static_cast<float>(bound - std::abs(bound) * 0x1p-23));
    }
    if (state.left) {
      std::fill_n(target, search.padded_width, uint16_t{0});
      block.threshold[i] = kNever;
    }
  }
}

void multiply_block(const Search& search, const Chunk& chunk, const Block& block,
                    int64_t padded_rows, const uint16_t* values, float* scores) {
  const BfloatTiles& tiles = search.tiles;
  for (int64_t panel = 0; panel < chunk.num_panels; ++panel) {
    const float* const codes = chunk.values + panel * search.panel_size;
    for (int64_t row = 0; row < padded_rows; row += tiles.tile_rows) {
      uint32_t found = tiles.multiply(values + row * search.padded_width, search.padded_width,
                                      codes, block.threshold + row, scores);
      for (; found != 0; found &= found - 1) {
        const int64_t r = __builtin_ctz(found);
        HWY_DYNAMIC_DISPATCH(NoteEvent)
        (block, row + r, panel, scores + r * tiles.panel_codes, tiles.panel_codes);
      }
    }
  }
}

/// Rows first .. last-1 against the chunk.
void search_rows(Search& search, const Chunk& chunk, int64_t first, int64_t last) {
  constexpr int64_t kMaxRows = 256;
  constexpr int64_t kMaxBytes = 128 * 1024;  // of rounded rows: within L2
  const int64_t tile_rows = search.tiles.tile_rows;
  const int64_t rows_of_block = round_up(
      std::min({kMaxRows, last - first, 1 + kMaxBytes / (2 * search.padded_width)}), tile_rows);
  BlockBuffers buffers(search, rows_of_block);
  search.tiles.begin();
  for (int64_t begin = first; begin < last; begin += rows_of_block) {
    if (search.in_vain) break;
    const Block block{begin, std::min(rows_of_block, last - begin), buffers.threshold.get(),
                      buffers.states.data(), buffers.events.data()};
    const int64_t padded_rows = round_up(block.num_rows, tile_rows);
    start_block(search, chunk, block, padded_rows, buffers.values.get());
    multiply_block(search, chunk, block, padded_rows, buffers.values.get(), buffers.scores.get());
    HWY_DYNAMIC_DISPATCH(DecideBlock)
    (search.tiles, search.rows, search.codes, block, chunk.first_panel, chunk.values,
     search.panel_size, search.winners);
    int64_t num_left = 0;
    for (int64_t i = 0; i < block.num_rows; ++i) {
      if (!block.states[i].left) continue;
      search.winners.ids[begin + i] = kLeftRow;
      ++num_left;
    }
    const int64_t left = search.num_left += num_left;
    if (2 * left > (search.num_tried += block.num_rows)) search.in_vain = true;
  }
  search.tiles.end();
}

}  // namespace

int64_t find_by_bfloat(const BfloatTiles& tiles, const float* rows, int64_t num_rows,
                       const CodesInPlay& codes, const Winners& winners) {
  constexpr int64_t kChunkFloats = 1 << 20;  // packed codes: 4 MiB
  constexpr int64_t kGrain = 1 << 17;        // multiplications that are worth a thread
  const int64_t padded_width = round_up(codes.width, tiles.width_multiple);
  Search search{tiles,   rows,         codes,
                winners, padded_width, (padded_width / 2 + 1) * tiles.panel_codes};
  const int64_t num_panels = (codes.count + tiles.panel_codes - 1) / tiles.panel_codes;
  const int64_t chunk_size =
      std::min(num_panels, std::max<int64_t>(1, kChunkFloats / search.panel_size));
  const auto values =
      hwy::AllocateAligned<float>(static_cast<size_t>(chunk_size * search.panel_size));
  std::vector<Norms> norms(
      static_cast<size_t>(chunk_size));  // of parts; an entry for each part's first panel

  for (int64_t begin = 0; begin < num_panels && !search.in_vain; begin += chunk_size) {
    Chunk chunk{begin, std::min(chunk_size, num_panels - begin), values.get(), {}};
    std::fill(norms.begin(), norms.end(), Norms{});
    at::parallel_for(0, chunk.num_panels, 1 + kGrain / search.panel_size,
                     [&](int64_t first, int64_t last) {
                       norms[static_cast<size_t>(first)] = HWY_DYNAMIC_DISPATCH(RoundPanels)(
                           tiles, codes, begin + first, begin + last, padded_width,
                           values.get() + first * search.panel_size);
                     });
    for (const Norms& part : norms) {
      chunk.norms.size = std::max(chunk.norms.size, part.size);
      chunk.norms.rounding = std::max(chunk.norms.rounding, part.rounding);
      chunk.norms.bias = std::max(chunk.norms.bias, part.bias);
    }
    search.num_tried = 0;
    search.num_left = 0;
    at::parallel_for(
        0, num_rows,
        std::max<int64_t>(tiles.tile_rows, 1 + kGrain / (chunk.num_panels * search.panel_size)),
        [&](int64_t first, int64_t last) { search_rows(search, chunk, first, last); });
  }

  if (search.in_vain) return num_rows;
  return std::count(winners.ids, winners.ids + num_rows, kLeftRow);
}

const BfloatTiles* bfloat_tiles() {
  const BfloatTiles* const amx = amx_tiles();
  return amx != nullptr ? amx : bfloat_dot_tiles();
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
