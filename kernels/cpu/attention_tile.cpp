// Attention by tiles, with running maxima and sums, so that scores stay in L1 (Dao et al. 2022, arXiv:2205.14135).
//
// A tile is kTileQueries queries; a chunk is a run of neighbouring keys, of which each query of the tile sees an interval.
// Full, causal and prefix masks: chunks are the panels of 64 keys up to the last one that the tile sees; all tiles of a
// block go over one panel before the next. The picture's window: a chunk for each of its rows, beginning anywhere, so
// that the tile looks at few keys that are not in it (16 for 11 of kernel 11). What a query does not see in a chunk
// gets a score of -infinity.
//
// All products are "C += A B" with rows of A spread and rows of B as vectors: scores = Q K^T (B: packed keys), values
// = P V, and backward dP = dO V^T, dQ = dS K, dK = dS^T Q, dV = P^T dO. Forward and backward are one file because they share
// that product, the chunks and their order, and Highway compiles a file as a whole for each instruction set.

#include "kernels/cpu/attention_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <hwy/cache_control.h>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_tile.cpp"
// The accumulators are an array of vectors, which types without a size (SVE, RVV) do not allow; ARM uses NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef LEXEL_KERNELS_CPU_ATTENTION_TILE_ONCE
#define LEXEL_KERNELS_CPU_ATTENTION_TILE_ONCE
namespace lexel::kernels::cpu {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
/// Scores of a block with one panel, or of a tile with up to 512 keys.
constexpr int64_t kScores = kBlockQueries * kPanelKeys;
constexpr int64_t kTileKeys = kScores / kTileQueries;
constexpr int64_t kMaxChunks = kTileKeys / 16;

/// A run of neighbouring keys, and what each query of a tile sees of it: begin[row] <= key - first < end[row].
struct Chunk {
  int64_t first;
  bool whole;  // all queries see all of it
  int32_t begin[kTileQueries], end[kTileQueries];
};

/// The keys before which a query's sight ends; not for the picture's window.
inline int64_t sight_end(const AttentionHead& head, int64_t query) {
  using Kind = AttentionMask::Kind;
  if (head.mask.kind == Kind::kFull) return head.keys;
  const int64_t prefix = head.mask.kind == Kind::kPrefix ? head.mask.prefix : 0;
  return std::min(head.keys, std::max(query + 1, prefix));
}

/// The chunk of a panel that begins with the key `first`.
inline Chunk panel_chunk(const AttentionHead& head, int64_t first_query, int64_t first) {
  Chunk chunk{first, true, {}, {}};
  for (int64_t row = 0; row < kTileQueries; ++row) {
    const int64_t end = sight_end(head, first_query + row) - first;
    chunk.end[row] = static_cast<int32_t>(std::clamp<int64_t>(end, 0, kPanelKeys));
    chunk.whole = chunk.whole && end >= kPanelKeys;
  }
  return chunk;
}

/// Chunks of rows first_row.. of the window (row 0 is the queries' own), as many as there are and fit; the next row
/// through first_row.
inline int64_t window_chunks(const AttentionHead& head, int64_t first_query, int64_t& first_row,
                             Chunk* chunks) {
  const int64_t radius = head.mask.kernel / 2, most = kTileKeys / head.layout.chunk;
  int64_t count = 0;
  for (; first_row <= radius && count < most; ++first_row) {
    const int64_t middle = first_query - first_row * head.mask.grid_width;
    const int64_t begin = middle - radius, end = middle + (first_row == 0 ? 0 : radius) + 1;
    if (end + kTileQueries - 1 <= 0) {  // before the first key, like all that follow
      first_row = radius + 1;
      break;
    }
    Chunk& chunk = chunks[count];
    chunk.first = std::max<int64_t>(0, begin);
    if (chunk.first >= head.keys) continue;
    chunk.whole = false;
    for (int64_t row = 0; row < kTileQueries; ++row) {
      chunk.begin[row] = static_cast<int32_t>(std::max<int64_t>(0, begin + row - chunk.first));
      chunk.end[row] = static_cast<int32_t>(
          std::clamp<int64_t>(std::min(end + row, head.keys) - chunk.first, 0, head.layout.chunk));
    }
    ++count;
  }
  return count;
}

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::CappedTag<float, kWidthStep>;
using Vector = hn::Vec<Lanes>;
constexpr int64_t kLanes = hn::MaxLanes(Lanes());
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || !HWY_ARCH_X86;
constexpr int64_t kVectors = kManyRegisters ? 4 : 2;

/// e^x for x <= 0, within 2 ulp: 2^n e^r by the series of e^r, |r| <= ln 2 / 2. 0 below -87 and for -infinity; NaN for NaN.
HWY_INLINE Vector Exp(Vector x) {
  const Lanes lanes;
  const hn::RebindToSigned<Lanes> integers;
  const auto n = hn::Round(hn::Mul(x, hn::Set(lanes, 1.44269504F)));
  auto r = hn::NegMulAdd(n, hn::Set(lanes, 0.693359375F), x);  // ln 2 in two parts, the first exact
  r = hn::NegMulAdd(n, hn::Set(lanes, -2.12194440e-4F), r);
  auto sum = hn::Set(lanes, 1.0F / 5040);
  for (const float term : {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F}) {
    sum = hn::MulAdd(sum, r, hn::Set(lanes, term));
  }
  const auto exponent = hn::Add(hn::ConvertTo(integers, n), hn::Set(integers, 127));
  const auto power = hn::BitCast(lanes, hn::ShiftLeft<23>(exponent));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(lanes, -87.0F)), hn::Mul(sum, power));
}

/// c (kRows, kCount vectors) = or += a (kRows, steps) b (steps, kCount vectors). Element (r, s) of a lies at
/// r a_row + s a_step, vector v of row s of b at places[v] + s b_step.
template <int64_t kRows, int64_t kCount, bool kAdd>
HWY_INLINE void Product(const float* HWY_RESTRICT a, int64_t a_row, int64_t a_step,
                        const float* HWY_RESTRICT b, const int64_t* HWY_RESTRICT places,
                        int64_t b_step, int64_t steps, float* HWY_RESTRICT c, int64_t c_row) {
  const Lanes lanes;
  Vector sums[kRows][kCount];
  const float* rows[kCount];
  HWY_UNROLL(4)
  for (int64_t i = 0; i < kCount; ++i) rows[i] = b + places[i];
  HWY_UNROLL(8)
  for (int64_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int64_t i = 0; i < kCount; ++i) {
      sums[r][i] = kAdd ? hn::LoadU(lanes, c + r * c_row + i * kLanes) : hn::Zero(lanes);
    }
  }
  for (int64_t s = 0; s < steps; ++s) {
    Vector row[kCount];
    HWY_UNROLL(4)
    for (int64_t i = 0; i < kCount; ++i) row[i] = hn::LoadU(lanes, rows[i] + s * b_step);
    HWY_UNROLL(8)
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector factor = hn::Set(lanes, a[r * a_row + s * a_step]);
      HWY_UNROLL(4)
      for (int64_t i = 0; i < kCount; ++i) sums[r][i] = hn::MulAdd(factor, row[i], sums[r][i]);
    }
  }
  HWY_UNROLL(8)
  for (int64_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (int64_t i = 0; i < kCount; ++i) {
      hn::StoreU(sums[r][i], lanes, c + r * c_row + i * kLanes);
    }
  }
}

/// Product over `count` vectors, in groups that the registers hold.
template <int64_t kRows, bool kAdd>
HWY_NOINLINE void Products(const float* a, int64_t a_row, int64_t a_step, const float* b,
                           const int64_t* places, int64_t count, int64_t b_step, int64_t steps,
                           float* c, int64_t c_row) {
  int64_t i = 0;
  for (; i + kVectors <= count; i += kVectors) {
    Product<kRows, kVectors, kAdd>(a, a_row, a_step, b, places + i, b_step, steps, c + i * kLanes,
                                   c_row);
  }
  for (; i + 2 <= count; i += 2) {
    Product<kRows, 2, kAdd>(a, a_row, a_step, b, places + i, b_step, steps, c + i * kLanes, c_row);
  }
  for (; i < count; ++i) {
    Product<kRows, 1, kAdd>(a, a_row, a_step, b, places + i, b_step, steps, c + i * kLanes, c_row);
  }
}

/// Where the vectors of a row of `width` floats lie: one after the other.
struct RowPlaces {
  explicit RowPlaces(int64_t width) : count(width / kLanes) {
    for (int64_t i = 0; i < count; ++i) places[i] = i * kLanes;
  }
  int64_t count;
  int64_t places[128 / kLanes] = {};
};

/// Where the vectors of chunks lie in packed keys.
struct KeyPlaces {
  KeyPlaces(const AttentionHead& head, const Chunk* chunks, int64_t num_chunks) : count(0) {
    for (int64_t c = 0; c < num_chunks; ++c) {
      const int64_t panel = chunks[c].first / head.layout.panel;
      const int64_t start = chunks[c].first + panel * head.layout.panel * (head.width - 1);
      for (int64_t i = 0; i < head.layout.chunk; i += kLanes) places[count++] = start + i;
    }
  }
  int64_t count;
  int64_t places[kTileKeys / kLanes] = {};
};

/// scores (kTileQueries, chunks) of a tile's rows; -infinity where a query does not see the key.
HWY_INLINE void TileScores(const AttentionHead& head, const Chunk* chunks, int64_t num_chunks,
                           const KeyPlaces& places, const float* rows, float* scores,
                           int64_t scores_row) {
  const Lanes lanes;
  Products<kTileQueries, false>(rows, head.width, 1, head.keys_transposed, places.places,
                                places.count, head.layout.panel, head.width, scores, scores_row);
  const int64_t chunk_keys = head.layout.chunk;
  const Vector minus_infinity = hn::Set(lanes, kMinusInfinity);
  for (int64_t c = 0; c < num_chunks; ++c) {
    const Chunk& chunk = chunks[c];
    float* const first = scores + c * chunk_keys;
    if (!chunk.whole) {
      for (int64_t r = 0; r < kTileQueries; ++r) {
        const Vector begin = hn::Set(lanes, static_cast<float>(chunk.begin[r]));
        const Vector end = hn::Set(lanes, static_cast<float>(chunk.end[r]));
        for (int64_t i = 0; i < chunk_keys; i += kLanes) {
          float* const place = first + r * scores_row + i;
          const Vector key = hn::Iota(lanes, static_cast<float>(i));
          const auto sees = hn::And(hn::Ge(key, begin), hn::Lt(key, end));
          hn::StoreU(hn::IfThenElse(sees, hn::LoadU(lanes, place), minus_infinity), lanes, place);
        }
      }
    }
    if (head.key_bias == nullptr) continue;
    for (int64_t i = 0; i < chunk_keys; i += kLanes) {
      const auto real = hn::Eq(hn::LoadU(lanes, head.key_bias + chunk.first + i), hn::Zero(lanes));
      for (int64_t r = 0; r < kTileQueries; ++r) {
        float* const place = first + r * scores_row + i;
        hn::StoreU(hn::IfThenElse(real, hn::LoadU(lanes, place), minus_infinity), lanes, place);
      }
    }
  }
}

/// c (kTileQueries, width) += weights (kTileQueries, chunks) rows (keys, width).
HWY_INLINE void AddKeyRows(const AttentionHead& head, const Chunk* chunks, int64_t num_chunks,
                           const RowPlaces& places, const float* weights, int64_t weights_row,
                           const float* rows, float* c) {
  for (int64_t i = 0; i < num_chunks; ++i) {
    Products<kTileQueries, true>(
        weights + i * head.layout.chunk, weights_row, 1, rows + chunks[i].first * head.width,
        places.places, places.count, head.width,
        std::min(head.layout.chunk, head.keys - chunks[i].first), c, head.width);
  }
}

/// What a tile knows so far.
struct TileState {
  float* max;  // (kTileQueries, in whole vectors) of the scores
  float* sum;  // of e^(score - max)
  float* out;  // (kTileQueries, width): sum of e^(score - max) v
};

void UpdateTile(const AttentionHead& head, const Chunk* chunks, int64_t num_chunks,
                const RowPlaces& places, const float* rows, const TileState& state, float* scores) {
  const Lanes lanes;
  const int64_t keys = num_chunks * head.layout.chunk;
  TileScores(head, chunks, num_chunks, KeyPlaces(head, chunks, num_chunks), rows, scores, keys);
  HWY_ALIGN float max[16], correction[16] = {};
  for (int64_t r = 0; r < kTileQueries; ++r) {
    Vector top = hn::Set(lanes, state.max[r]);
    for (int64_t i = 0; i < keys; i += kLanes) {
      top = hn::Max(top, hn::LoadU(lanes, scores + r * keys + i));
    }
    max[r] = hn::GetLane(hn::MaxOfLanes(lanes, top));
  }
  for (int64_t r = kTileQueries; r < 16; ++r) max[r] = 0.0F;
  for (int64_t r = 0; r < kTileQueries; r += kLanes) {
    const Vector after = hn::Load(lanes, max + r);
    const auto none = hn::Eq(after, hn::Set(lanes, kMinusInfinity));
    const Vector finite = hn::IfThenZeroElse(none, after);
    hn::Store(Exp(hn::Sub(hn::LoadU(lanes, state.max + r), finite)), lanes, correction + r);
    hn::StoreU(after, lanes, state.max + r);
    hn::Store(finite, lanes, max + r);
  }
  for (int64_t r = 0; r < kTileQueries; ++r) {
    const Vector top = hn::Set(lanes, max[r]);
    Vector sum = hn::Zero(lanes);
    for (int64_t i = 0; i < keys; i += kLanes) {
      float* const place = scores + r * keys + i;
      const Vector weight = Exp(hn::Sub(hn::LoadU(lanes, place), top));
      hn::StoreU(weight, lanes, place);
      sum = hn::Add(sum, weight);
    }
    state.sum[r] = state.sum[r] * correction[r] + hn::GetLane(hn::SumOfLanes(lanes, sum));
    if (correction[r] == 1.0F) continue;
    const Vector factor = hn::Set(lanes, correction[r]);
    for (int64_t i = 0; i < head.width; i += kLanes) {
      float* const place = state.out + r * head.width + i;
      hn::StoreU(hn::Mul(hn::LoadU(lanes, place), factor), lanes, place);
    }
  }
  AddKeyRows(head, chunks, num_chunks, places, scores, keys, head.v, state.out);
}

/// Values times `factor`.
HWY_INLINE void CopyValues(const float* HWY_RESTRICT values, int64_t count, float factor,
                           float* HWY_RESTRICT target) {
  const Lanes lanes;
  const Vector factors = hn::Set(lanes, factor);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(lanes, values + i), factors), lanes, target + i);
  }
  for (; i < count; ++i) target[i] = values[i] * factor;
}

/// Asks for a row some places ahead: rows of a head often lie KiB apart, where the hardware does not look ahead.
HWY_INLINE void PrefetchRow(const HeadRows& rows, int64_t row) {
  constexpr int64_t kAhead = 8, kLine = 64;
  const int64_t bytes = rows.bfloat ? 2 : 4;
  const char* const first =
      static_cast<const char*>(rows.data) + (row + kAhead) * rows.stride * bytes;
  for (int64_t i = 0; i < rows.width * bytes; i += kLine) hwy::Prefetch(first + i);
}

/// Row `row` times `factor` as float32, zeros behind its own width.
HWY_INLINE void ReadRow(const HeadRows& rows, int64_t row, int64_t width, float factor,
                        float* HWY_RESTRICT target) {
  const int64_t own = rows.width, offset = row * rows.stride;
  PrefetchRow(rows, row);
  if (rows.bfloat) {
    const uint16_t* const values = static_cast<const uint16_t*>(rows.data) + offset;
    for (int64_t i = 0; i < own; ++i) {
      target[i] = factor * std::bit_cast<float>(static_cast<uint32_t>(values[i]) << 16);
    }
  } else {
    CopyValues(static_cast<const float*>(rows.data) + offset, own, factor, target);
  }
  for (int64_t i = own; i < width; ++i) target[i] = 0.0F;
}

/// Values times `factor` to a row; rounded to the nearest, ties to even, where that is bfloat16.
HWY_INLINE void WriteRow(const float* HWY_RESTRICT values, float factor, const HeadRowsOut& rows,
                         int64_t row) {
  const int64_t own = rows.width, offset = row * rows.stride;
  if (!rows.bfloat) {
    CopyValues(values, own, factor, static_cast<float*>(rows.data) + offset);
    return;
  }
  uint16_t* const HWY_RESTRICT target = static_cast<uint16_t*>(rows.data) + offset;
  for (int64_t i = 0; i < own; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i] * factor);
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    target[i] = static_cast<uint16_t>(nan ? 0x7FC0 : rounded);
  }
}

void ReadRows(const HeadRows& rows, int64_t count, int64_t width, float* target) {
  for (int64_t r = 0; r < count; ++r) ReadRow(rows, r, width, 1.0F, target + r * width);
}

void WriteRows(const float* rows, int64_t count, int64_t width, const HeadRowsOut& target) {
  for (int64_t r = 0; r < count; ++r) WriteRow(rows + r * width, 1.0F, target, r);
}

/// Rows first .. of a block times `factor`, with zeros behind the last query.
void ReadBlock(const HeadRows& rows, int64_t first, int64_t count, int64_t width, float factor,
               float* target) {
  for (int64_t r = 0; r < count; ++r) {
    ReadRow(rows, first + r, width, factor, target + r * width);
  }
  std::fill_n(target + count * width, (kBlockQueries - count) * width, 0.0F);
}

void ForwardBlock(const AttentionHead& head, int64_t block, const HeadRowsOut& out,
                  float* log_sum_exp, float* scratch) {
  const int64_t width = head.width, first = block * kBlockQueries;
  const int64_t count = std::min(kBlockQueries, head.queries - first);
  const int64_t tiles = (count + kTileQueries - 1) / kTileQueries;
  const RowPlaces places(width);
  float* const rows = scratch;  // (kBlockQueries, width)
  float* const sums = rows + kBlockQueries * width;
  float* const scores = sums + kBlockQueries * width;
  // Per tile, 16 of each, so that vectors can be loaded.
  HWY_ALIGN float max[kBlockTiles * 16], sum[kBlockTiles * 16];
  std::fill_n(max, kBlockTiles * 16, kMinusInfinity);
  std::fill_n(sum, kBlockTiles * 16, 0.0F);
  std::fill_n(sums, kBlockQueries * width, 0.0F);
  ReadBlock(head.q, first, count, width, head.scale, rows);

  const auto update = [&](int64_t tile, const Chunk* chunks, int64_t num_chunks) {
    const int64_t offset = tile * kTileQueries * width;
    UpdateTile(head, chunks, num_chunks, places, rows + offset,
               {max + tile * 16, sum + tile * 16, sums + offset}, scores);
  };
  if (head.mask.kind == AttentionMask::Kind::kConv) {
    Chunk chunks[kMaxChunks];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      for (int64_t row = 0; row <= head.mask.kernel / 2;) {
        const int64_t num_chunks = window_chunks(head, first + tile * kTileQueries, row, chunks);
        if (num_chunks > 0) update(tile, chunks, num_chunks);
      }
    }
  } else {
    const int64_t end = sight_end(head, first + count - 1);
    for (int64_t key = 0; key < end; key += kPanelKeys) {
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t query = first + tile * kTileQueries;
        if (sight_end(head, query + kTileQueries - 1) <= key) continue;
        const Chunk chunk = panel_chunk(head, query, key);
        update(tile, &chunk, 1);
      }
    }
  }

  for (int64_t r = 0; r < count; ++r) {
    const int64_t place = r / kTileQueries * 16 + r % kTileQueries;
    const bool none = sum[place] == 0.0F;  // the largest term of a sum is 1
    WriteRow(sums + r * width, none ? 0.0F : 1.0F / sum[place], out, first + r);
    log_sum_exp[first + r] = none ? kMinusInfinity : max[place] + std::log(sum[place]);
  }
}

/// weights = e^(scores - log_sum_exp) and slopes = weights (slopes - mean): of the scores, from those of the weights.
HWY_INLINE void TileSlopes(int64_t keys, const float* log_sum_exp, const float* mean,
                           float* HWY_RESTRICT weights, float* HWY_RESTRICT slopes, int64_t row) {
  const Lanes lanes;
  for (int64_t r = 0; r < kTileQueries; ++r) {
    const Vector log_sum = hn::Set(lanes, log_sum_exp[r]), middle = hn::Set(lanes, mean[r]);
    for (int64_t i = 0; i < keys; i += kLanes) {
      float* const weight = weights + r * row + i;
      float* const slope = slopes + r * row + i;
      const Vector value = Exp(hn::Sub(hn::LoadU(lanes, weight), log_sum));
      hn::StoreU(value, lanes, weight);
      hn::StoreU(hn::Mul(value, hn::Sub(hn::LoadU(lanes, slope), middle)), lanes, slope);
    }
  }
}

/// grad (keys, width) += weights^T rows, for the keys of a chunk and `queries` rows.
HWY_INLINE void AddToKeys(const AttentionHead& head, const Chunk& chunk, const RowPlaces& places,
                          const float* weights, int64_t weights_row, const float* rows,
                          int64_t queries, float* grad) {
  constexpr int64_t kKeys = 4;
  const int64_t keys = std::min(head.layout.chunk, head.keys - chunk.first);
  for (int64_t key = 0; key < keys; key += kKeys) {  // chunks are multiples of 4; behind keys: + 0
    Products<kKeys, true>(weights + key, 1, weights_row, rows, places.places, places.count,
                          head.width, queries, grad + (chunk.first + key) * head.width, head.width);
  }
}

void BackwardBlock(const AttentionHeadBackward& work, int64_t block, const HeadRowsOut& q_grad,
                   float* k_grad, float* v_grad, float* scratch) {
  const Lanes lanes;
  const AttentionHead& head = work.head;
  const int64_t width = head.width, first = block * kBlockQueries;
  const int64_t count = std::min(kBlockQueries, head.queries - first);
  const int64_t tiles = (count + kTileQueries - 1) / kTileQueries;
  const RowPlaces places(width);
  float* const rows = scratch;  // (kBlockQueries, width)
  float* const grads = rows + kBlockQueries * width;
  float* const sums = grads + kBlockQueries * width;
  float* const weights = sums + kBlockQueries * width;
  float* const slopes = weights + kScores;
  float log_sum[kBlockQueries] = {}, mean[kBlockQueries] = {};
  std::fill_n(sums, kBlockQueries * width, 0.0F);
  ReadBlock(head.q, first, count, width, head.scale, rows);
  ReadBlock(work.grad, first, count, width, 1.0F, grads);
  for (int64_t r = 0; r < count; ++r) {
    Vector sum = hn::Zero(lanes);
    HWY_ALIGN float out[128];
    ReadRow(work.out, first + r, width, 1.0F, out);
    for (int64_t i = 0; i < width; i += kLanes) {
      sum = hn::MulAdd(hn::LoadU(lanes, grads + r * width + i), hn::LoadU(lanes, out + i), sum);
    }
    mean[r] = hn::GetLane(hn::SumOfLanes(lanes, sum));
    const float value = work.log_sum_exp[first + r];
    log_sum[r] = value == kMinusInfinity ? 0.0F : value;  // sees nothing: all weights become 0
  }

  // Weights and slopes of a tile, and its part of dQ.
  const auto tile_slopes = [&](int64_t tile, const Chunk* chunks, int64_t num_chunks,
                               float* own_weights, float* own_slopes) {
    const int64_t keys = num_chunks * head.layout.chunk, row = tile * kTileQueries;
    const KeyPlaces key_places(head, chunks, num_chunks);
    TileScores(head, chunks, num_chunks, key_places, rows + row * width, own_weights, keys);
    Products<kTileQueries, false>(grads + row * width, width, 1, work.values_transposed,
                                  key_places.places, key_places.count, head.layout.panel, width,
                                  own_slopes, keys);
    TileSlopes(keys, log_sum + row, mean + row, own_weights, own_slopes, keys);
    AddKeyRows(head, chunks, num_chunks, places, own_slopes, keys, work.k, sums + row * width);
  };
  // Parts of dV and dK of the queries `row` and following, whose weights and slopes are given.
  const auto add_to_keys = [&](const Chunk* chunks, int64_t num_chunks, int64_t row,
                               int64_t queries, const float* first_weights,
                               const float* first_slopes) {
    const int64_t keys = num_chunks * head.layout.chunk;
    for (int64_t c = 0; c < num_chunks; ++c) {
      const int64_t offset = c * head.layout.chunk;
      AddToKeys(head, chunks[c], places, first_weights + offset, keys, grads + row * width, queries,
                v_grad);
      AddToKeys(head, chunks[c], places, first_slopes + offset, keys, rows + row * width, queries,
                k_grad);
    }
  };

  if (head.mask.kind == AttentionMask::Kind::kConv) {
    Chunk chunks[kMaxChunks];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      for (int64_t row = 0; row <= head.mask.kernel / 2;) {
        const int64_t num_chunks = window_chunks(head, first + tile * kTileQueries, row, chunks);
        if (num_chunks == 0) continue;
        tile_slopes(tile, chunks, num_chunks, weights, slopes);
        add_to_keys(chunks, num_chunks, tile * kTileQueries, kTileQueries, weights, slopes);
      }
    }
  } else {
    const int64_t end = sight_end(head, first + count - 1);
    for (int64_t key = 0; key < end; key += kPanelKeys) {
      int64_t first_tile = tiles;  // that sees a key of the panel; then all that follow do
      Chunk chunk{};
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t query = first + tile * kTileQueries;
        if (sight_end(head, query + kTileQueries - 1) <= key) continue;
        first_tile = std::min(first_tile, tile);
        chunk = panel_chunk(head, query, key);
        const int64_t offset = tile * kTileQueries * kPanelKeys;
        tile_slopes(tile, &chunk, 1, weights + offset, slopes + offset);
      }
      const int64_t row = first_tile * kTileQueries;
      add_to_keys(&chunk, 1, row, tiles * kTileQueries - row, weights + row * kPanelKeys,
                  slopes + row * kPanelKeys);
    }
  }

  for (int64_t r = 0; r < count; ++r) {
    WriteRow(sums + r * width, head.scale, q_grad, first + r);
  }
}

/// Four rows at a time: interleaved, four neighbours are one row of the result.
void PackKeys(const HeadRows& rows, int64_t count, int64_t width, const KeyLayout& layout,
              float* packed) {
  const Lanes lanes;
  HWY_ALIGN float four[4 * 128], buffer[4 * kLanes];
  const int64_t panels = (count + layout.panel - 1) / layout.panel;
  for (int64_t key = 0; key < panels * layout.panel; key += 4) {
    float* const target = packed + key / layout.panel * layout.panel * width + key % layout.panel;
    const float* row[4];
    for (int64_t i = 0; i < 4; ++i) {
      float* const copy = four + i * width;
      row[i] = copy;
      if (key + i >= count) {
        std::fill_n(copy, width, 0.0F);
      } else if (rows.bfloat || rows.width != width) {
        ReadRow(rows, key + i, width, 1.0F, copy);
      } else {
        PrefetchRow(rows, key + i);
        row[i] = static_cast<const float*>(rows.data) + (key + i) * rows.stride;
      }
    }
    for (int64_t d = 0; d < width; d += kLanes) {
      hn::StoreInterleaved4(hn::LoadU(lanes, row[0] + d), hn::LoadU(lanes, row[1] + d),
                            hn::LoadU(lanes, row[2] + d), hn::LoadU(lanes, row[3] + d), lanes,
                            buffer);
      for (int64_t i = 0; i < kLanes; ++i) {
        std::copy_n(buffer + 4 * i, 4, target + (d + i) * layout.panel);
      }
    }
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(ReadRows);
HWY_EXPORT(WriteRows);
HWY_EXPORT(PackKeys);
HWY_EXPORT(ForwardBlock);
HWY_EXPORT(BackwardBlock);

KeyLayout key_layout(const AttentionMask& mask, int64_t keys) {
  if (mask.kind != AttentionMask::Kind::kConv) return {kPanelKeys, kPanelKeys};
  const auto whole = [](int64_t n) { return (n + kWidthStep - 1) / kWidthStep * kWidthStep; };
  const int64_t chunk = whole(kTileQueries + mask.kernel - 1);
  // One panel; an odd number of cache lines, or its rows would share a few sets of the cache.
  const int64_t panel = whole(keys + chunk);
  return {panel / kWidthStep % 2 == 0 ? panel + kWidthStep : panel, chunk};
}

void read_rows(const HeadRows& rows, int64_t count, int64_t width, float* target) {
  HWY_DYNAMIC_DISPATCH(ReadRows)(rows, count, width, target);
}

void write_rows(const float* rows, int64_t count, int64_t width, const HeadRowsOut& target) {
  HWY_DYNAMIC_DISPATCH(WriteRows)(rows, count, width, target);
}

void pack_keys(const HeadRows& rows, int64_t count, int64_t width, const KeyLayout& layout,
               float* packed) {
  HWY_DYNAMIC_DISPATCH(PackKeys)(rows, count, width, layout, packed);
}

int64_t forward_scratch(int64_t width) { return 2 * kBlockQueries * width + kScores; }
int64_t backward_scratch(int64_t width) { return 3 * kBlockQueries * width + 2 * kScores; }

void forward_block(const AttentionHead& head, int64_t block, const HeadRowsOut& out,
                   float* log_sum_exp, float* scratch) {
  HWY_DYNAMIC_DISPATCH(ForwardBlock)(head, block, out, log_sum_exp, scratch);
}

void backward_block(const AttentionHeadBackward& work, int64_t block, const HeadRowsOut& q_grad,
                    float* k_grad, float* v_grad, float* scratch) {
  HWY_DYNAMIC_DISPATCH(BackwardBlock)(work, block, q_grad, k_grad, v_grad, scratch);
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
