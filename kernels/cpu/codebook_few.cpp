// A row or three against many codes: packing the codes would take longer than the products. Each code is read as it lies and
// its products are summed in the lanes, in another order than a panel's; so the scores are only used to find the codes that
// may be the best, and these few are scored again as a panel does.
//
// Both sums differ from the true one by at most 1.1 (D + 8) u (|c|^2 / 2 + |x| |c|), u = 2^-24 (any order, one rounding a
// product and a few more); E = 3 (D + 8) u (..) bounds the difference of the two, and 4 (D + 8) 2^-126 what may underflow.

#include "kernels/cpu/codebook_few.h"

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/codebook_few.cpp"
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/codebook_panels-inl.h"
#include "kernels/cpu/codebook_rescoring-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR
bool ScanCodes(const float*, int64_t, const CodesInPlay&, int64_t, int64_t, const Winners&) {
  return false;
}
#else

constexpr int64_t kQuad = 4;  // codes at a time: a 128-bit block
constexpr int64_t kQuads = kLanes / kQuad;

/// The sums of the lanes of a, b, c, e, in each block for itself: lane i of a block is the block's part of the i-th.
HWY_INLINE Vector SumInBlocks(Vector a, Vector b, Vector c, Vector e) {
  const Lanes lanes;
  const hn::Repartition<double, Lanes> pairs;
  const Vector ab = hn::Add(hn::InterleaveLower(lanes, a, b), hn::InterleaveUpper(lanes, a, b));
  const Vector ce = hn::Add(hn::InterleaveLower(lanes, c, e), hn::InterleaveUpper(lanes, c, e));
  const auto ab2 = hn::BitCast(pairs, ab), ce2 = hn::BitCast(pairs, ce);
  return hn::Add(hn::BitCast(lanes, hn::InterleaveLower(pairs, ab2, ce2)),
                 hn::BitCast(lanes, hn::InterleaveUpper(pairs, ab2, ce2)));
}

HWY_INLINE Vector SumHalves(Vector a, Vector b) {
  const Lanes lanes;
  return hn::Add(hn::ConcatLowerLower(lanes, b, a), hn::ConcatUpperUpper(lanes, b, a));
}

/// Block i of the result: the sum of the blocks of quads[i].
template <int64_t kCount>
HWY_INLINE Vector SumOfBlocks(const Vector (&quads)[kCount]) {
  if constexpr (kCount == 1) {
    return quads[0];
  } else if constexpr (kCount == 2) {
    return SumHalves(quads[0], quads[1]);
  } else {
    static_assert(kCount == 4);
    const Vector even = SumHalves(quads[0], quads[2]), odd = SumHalves(quads[1], quads[3]);
    return hn::OddEvenBlocks(hn::Add(odd, hn::SwapAdjacentBlocks(odd)),
                             hn::Add(even, hn::SwapAdjacentBlocks(even)));
  }
}

/// Norms of the codes scanned so far, lane by lane.
struct CodeSquares {
  Vector largest;  // of the squares' sums in each lane: the sum of the lanes bounds every |c|^2
  Vector check;    // 0, or NaN once a code was not finite, or its square beyond float32
};

/// Scores of four codes with each row: quads[r], as SumInBlocks makes them.
template <int64_t kRows, bool kL2>
HWY_INLINE void ScoreQuad(const float* HWY_RESTRICT rows, const float* const (&codes)[kQuad],
                          int64_t width, CodeSquares& squares, Vector (&quads)[kRows]) {
  const Lanes lanes;
  const Vector zero = hn::Zero(lanes);
  Vector sums[kRows][kQuad], own[kQuad];
  HWY_UNROLL(4)
  for (int64_t i = 0; i < kQuad; ++i) {
    own[i] = zero;
    HWY_UNROLL(4)
    for (int64_t r = 0; r < kRows; ++r) sums[r][i] = zero;
  }
  for (int64_t d = 0; d < width; d += kLanes) {
    HWY_UNROLL(4)
    for (int64_t i = 0; i < kQuad; ++i) {
      const Vector code = hn::LoadU(lanes, codes[i] + d);
      own[i] = hn::MulAdd(code, code, own[i]);
      HWY_UNROLL(4)
      for (int64_t r = 0; r < kRows; ++r) {
        sums[r][i] = hn::MulAdd(hn::LoadU(lanes, rows + r * width + d), code, sums[r][i]);
      }
    }
  }
  squares.largest =
      hn::Max(squares.largest, hn::Max(hn::Max(own[0], own[1]), hn::Max(own[2], own[3])));
  const Vector total = hn::Add(hn::Add(own[0], own[1]), hn::Add(own[2], own[3]));
  squares.check = hn::MulAdd(total, zero, squares.check);
  HWY_UNROLL(4)
  for (int64_t r = 0; r < kRows; ++r) {
    if constexpr (kL2) {
      const Vector half = hn::Set(lanes, 0.5F);
      HWY_UNROLL(4)
      for (int64_t i = 0; i < kQuad; ++i) sums[r][i] = hn::NegMulAdd(half, own[i], sums[r][i]);
    }
    quads[r] = SumInBlocks(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
  }
}

constexpr int64_t kChunkCodes = 2048;
constexpr int64_t kMaxCandidates = 256;  // of a row and chunk

/// Writes scores (kRows, kChunkCodes) of places first .. last-1, -infinity behind them up to a multiple of kLanes.
template <int64_t kRows, bool kL2>
HWY_NOINLINE void ScoreChunk(const float* rows, const CodesInPlay& codes, int64_t first,
                             int64_t last, CodeSquares& squares, float* HWY_RESTRICT scores) {
  const Lanes lanes;
  for (int64_t place = first; place < last; place += kLanes) {
    Vector quads[kRows][kQuads];
    for (int64_t q = 0; q < kQuads; ++q) {
      const float* sources[kQuad];
      for (int64_t i = 0; i < kQuad; ++i) {
        sources[i] = codes.code(std::min(place + q * kQuad + i, last - 1));
      }
      Vector quad[kRows];
      ScoreQuad<kRows, kL2>(rows, sources, codes.width, squares, quad);
      for (int64_t r = 0; r < kRows; ++r) quads[r][q] = quad[r];
    }
    for (int64_t r = 0; r < kRows; ++r) {
      hn::StoreU(SumOfBlocks(quads[r]), lanes, scores + r * kChunkCodes + (place - first));
    }
  }
  const int64_t count = last - first;
  for (int64_t i = count; i % kLanes != 0; ++i) {
    for (int64_t r = 0; r < kRows; ++r) scores[r * kChunkCodes + i] = kMinusInfinity;
  }
}

float RoundDown(double x) {
  return std::max(std::numeric_limits<float>::lowest(),
                  static_cast<float>(x - std::abs(x) * 0x1p-23));
}

/// The k-th largest of scores, padded with -infinity to whole vectors; k in 1..8.
float KthLargest(const float* scores, int64_t count, int64_t k) {
  const Lanes lanes;
  float largest[8];
  std::fill_n(largest, k, kMinusInfinity);
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto better = hn::Gt(hn::Load(lanes, scores + i), hn::Set(lanes, largest[k - 1]));
    if (hn::AllFalse(lanes, better)) continue;
    for (int64_t j = i; j < i + kLanes; ++j) {
      if (!(scores[j] > largest[k - 1])) continue;
      int64_t place = k - 1;
      for (; place > 0 && scores[j] > largest[place - 1]; --place) {
        largest[place] = largest[place - 1];
      }
      largest[place] = scores[j];
    }
  }
  return largest[k - 1];
}

template <int64_t kRows, bool kL2>
bool ScanRows(const float* rows, const CodesInPlay& codes, int64_t first, int64_t last,
              const Winners& winners) {
  const Lanes lanes;
  const Vector zero = hn::Zero(lanes);
  const int64_t width = codes.width;
  double row_size[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    double squares = 0.0;
    for (int64_t d = 0; d < width; ++d)
      squares += double{rows[r * width + d]} * rows[r * width + d];
    row_size[r] = std::sqrt(squares) * 1.001;
  }
  HWY_ALIGN float scores[kRows * kChunkCodes];
  for (int64_t begin = first; begin < last; begin += kChunkCodes) {
    const int64_t end = std::min(last, begin + kChunkCodes);
    CodeSquares squares{zero, zero};
    ScoreChunk<kRows, kL2>(rows, codes, begin, end, squares, scores);
    if (!hn::AllTrue(lanes, hn::Eq(squares.check, zero))) return false;
    // Squares too small for float32 are at most 2^-126 each.
    const double code_square = hn::GetLane(hn::SumOfLanes(lanes, squares.largest)) * 1.001 +
                               static_cast<double>(width) * 0x1p-126;
    Rescoring rescoring(rows, codes, winners);
    for (int64_t r = 0; r < kRows; ++r) {
      const double largest = (kL2 ? code_square : 0.0) + row_size[r] * std::sqrt(code_square);
      if (!(largest < 1e37) || !(row_size[r] < 1e37)) return false;
      const auto terms = static_cast<double>(width + 8);
      const double margin = 3.0 * terms * 0x1p-24 * largest +
                            4.0 * terms * 0x1p-126 * (1.0 + row_size[r] + std::sqrt(code_square));
      const float* const row_scores = scores + r * kChunkCodes;
      const int64_t worst = (r + 1) * winners.top_k - 1;
      const double best = KthLargest(row_scores, end - begin, winners.top_k);
      const float threshold = std::max(RoundDown(best - 2.0 * margin),
                                       RoundDown(double{winners.score[worst]} - margin));
      int64_t count = 0;
      for (int64_t i = 0; i < end - begin; i += kLanes) {
        const auto near = hn::Ge(hn::Load(lanes, row_scores + i), hn::Set(lanes, threshold));
        if (hn::AllFalse(lanes, near)) continue;
        for (int64_t j = i; j < i + kLanes; ++j) {
          if (!(row_scores[j] >= threshold)) continue;
          if (++count > kMaxCandidates) return false;
          const float* const code = codes.code(begin + j);
          double sum = 0.0;
          for (int64_t d = 0; kL2 && d < width; ++d) sum += double{code[d]} * code[d];
          rescoring.add(r, begin + j, kL2 ? static_cast<float>(-0.5 * sum) : 0.0F);
        }
      }
    }
    rescoring.finish();
  }
  return true;
}

template <bool kL2>
bool ScanWithMetric(const float* rows, int64_t num_rows, const CodesInPlay& codes, int64_t first,
                    int64_t last, const Winners& winners) {
  if (num_rows == 1) return ScanRows<1, kL2>(rows, codes, first, last, winners);
  if (num_rows == 2) return ScanRows<2, kL2>(rows, codes, first, last, winners);
  return ScanRows<3, kL2>(rows, codes, first, last, winners);
}

bool ScanCodes(const float* rows, int64_t num_rows, const CodesInPlay& codes, int64_t first,
               int64_t last, const Winners& winners) {
  if (codes.width % kLanes != 0) return false;
  return codes.l2 ? ScanWithMetric<true>(rows, num_rows, codes, first, last, winners)
                  : ScanWithMetric<false>(rows, num_rows, codes, first, last, winners);
}
#endif

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(ScanCodes);

bool scan_codes(const float* rows, int64_t num_rows, const CodesInPlay& codes, int64_t first,
                int64_t last, const Winners& winners) {
  return HWY_DYNAMIC_DISPATCH(ScanCodes)(rows, num_rows, codes, first, last, winners);
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
