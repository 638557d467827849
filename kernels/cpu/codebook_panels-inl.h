// Packs codes into panels, for each of Highway's targets: included after <hwy/highway.h> by code of foreach_target.
//
// A panel holds [bias][D] x [codes], `codes` a multiple of the lanes. The sum that codes are compared by begins with the
// bias: 0 for the dot product, -|c|^2 / 2 for L2, -infinity for padding and for codes that are not finite.

#if defined(LEXEL_KERNELS_CPU_CODEBOOK_PANELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LEXEL_KERNELS_CPU_CODEBOOK_PANELS_INL_H
#undef LEXEL_KERNELS_CPU_CODEBOOK_PANELS_INL_H
#else
#define LEXEL_KERNELS_CPU_CODEBOOK_PANELS_INL_H
#endif

#include <algorithm>
#include <cmath>

#include "kernels/cpu/codebook_panels.h"

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;
constexpr int64_t kLanes = hn::MaxLanes(Lanes());

#if HWY_TARGET != HWY_SCALAR
/// Four widths, from d on, of the codes 0, 4, 8, .. of `sources`: one 128-bit block each, kSize floats in all.
template <int64_t kSize>
HWY_INLINE auto LoadBlocks(const float* const* sources, int64_t d) {
  const hn::FixedTag<float, kSize> whole;
  if constexpr (kSize == 4) {
    return hn::LoadU(whole, sources[0] + d);
  } else {
    return hn::Combine(whole, LoadBlocks<kSize / 2>(sources + kSize / 2, d),
                       LoadBlocks<kSize / 2>(sources, d));
  }
}
#endif

/// Writes (D, kLanes) of `sources` to target, whose lines are `stride` floats apart. Returns 0 in the lanes of codes that are
/// finite, else NaN.
HWY_INLINE Vector Transpose(const float* const* sources, int64_t width, int64_t stride,
                            float* HWY_RESTRICT target) {
  const Lanes lanes;
  const Vector zero = hn::Zero(lanes);
  Vector check0 = zero, check1 = zero;  // 0 x value: two sums, for the additions to overlap
  int64_t d = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::Repartition<double, Lanes> pairs;
  for (; d + 4 <= width; d += 4) {
    const Vector a = LoadBlocks<kLanes>(sources, d), b = LoadBlocks<kLanes>(sources + 1, d);
    const Vector c = LoadBlocks<kLanes>(sources + 2, d), e = LoadBlocks<kLanes>(sources + 3, d);
    // In each block: the widths 0, 1 of two codes, then the widths 2, 3.
    const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(lanes, a, b));
    const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(lanes, a, b));
    const auto ce_low = hn::BitCast(pairs, hn::InterleaveLower(lanes, c, e));
    const auto ce_high = hn::BitCast(pairs, hn::InterleaveUpper(lanes, c, e));
    const Vector line0 = hn::BitCast(lanes, hn::InterleaveLower(pairs, ab_low, ce_low));
    const Vector line1 = hn::BitCast(lanes, hn::InterleaveUpper(pairs, ab_low, ce_low));
    const Vector line2 = hn::BitCast(lanes, hn::InterleaveLower(pairs, ab_high, ce_high));
    const Vector line3 = hn::BitCast(lanes, hn::InterleaveUpper(pairs, ab_high, ce_high));
    float* const lines = target + d * stride;
    hn::Store(line0, lanes, lines);
    hn::Store(line1, lanes, lines + stride);
    hn::Store(line2, lanes, lines + 2 * stride);
    hn::Store(line3, lanes, lines + 3 * stride);
    check0 = hn::MulAdd(line2, zero, hn::MulAdd(line0, zero, check0));
    check1 = hn::MulAdd(line3, zero, hn::MulAdd(line1, zero, check1));
  }
#endif
  for (; d < width; ++d) {
    for (int64_t j = 0; j < kLanes; ++j) target[d * stride + j] = sources[j][d];
    check0 = hn::MulAdd(hn::Load(lanes, target + d * stride), zero, check0);
  }
  return hn::Add(check0, check1);
}

/// -|c|^2 / 2 of kCodes transposed codes, into `bias` where it is 0; -infinity where that is beyond float32. The squares are
/// summed in float64 one after the other, so that the bias does not depend on the target.
template <int64_t kCodes>
HWY_INLINE void HalfSquares(const float* HWY_RESTRICT values, int64_t width,
                            float* HWY_RESTRICT bias) {
  HWY_ALIGN double squares[kCodes] = {};
#if HWY_TARGET == HWY_SCALAR
  for (int64_t d = 0; d < width; ++d) {
    for (int64_t j = 0; j < kCodes; ++j) {
      squares[j] += double{values[d * kCodes + j]} * values[d * kCodes + j];
    }
  }
#else
  // The products are exact, with or without a fused addition.
  const hn::ScalableTag<double> wide;
  const hn::Half<Lanes> half;
  constexpr int64_t kHalf = kLanes / 2;
  constexpr int64_t kSums = kCodes / kHalf % 3 == 0 ? 3 : 4;  // at a time: their additions overlap
  static_assert(kCodes % (kSums * kHalf) == 0);
  for (int64_t j = 0; j < kCodes; j += kSums * kHalf) {
    hn::Vec<decltype(wide)> sums[kSums];
    HWY_UNROLL(4)
    for (int64_t i = 0; i < kSums; ++i) sums[i] = hn::Zero(wide);
    for (int64_t d = 0; d < width; ++d) {
      HWY_UNROLL(4)
      for (int64_t i = 0; i < kSums; ++i) {
        const auto x = hn::PromoteTo(wide, hn::Load(half, values + d * kCodes + j + i * kHalf));
        sums[i] = hn::MulAdd(x, x, sums[i]);
      }
    }
    HWY_UNROLL(4)
    for (int64_t i = 0; i < kSums; ++i) hn::Store(sums[i], wide, squares + j + i * kHalf);
  }
#endif
  for (int64_t j = 0; j < kCodes; ++j) {
    const auto value = static_cast<float>(-0.5 * squares[j]);
    if (bias[j] == 0.0F) bias[j] = std::isfinite(value) ? value : kMinusInfinity;
  }
}

/// Packs the codes in play from place `first` on.
template <int64_t kCodes>
void PackPanel(const CodesInPlay& codes, int64_t first, float* HWY_RESTRICT panel) {
  static_assert(kCodes % kLanes == 0);
  const Lanes lanes;
  const Vector zero = hn::Zero(lanes), none = hn::Set(lanes, kMinusInfinity);
  const int64_t width = codes.width;
  const int64_t num_codes = std::min(kCodes, codes.count - first);
  const float* sources[kCodes];
  for (int64_t j = 0; j < kCodes; ++j) {
    sources[j] = codes.code(first + std::min(j, num_codes - 1));
  }
  float* const values = panel + kCodes;
  for (int64_t j = 0; j < kCodes; j += kLanes) {
    const Vector check = Transpose(sources + j, width, kCodes, values + j);
    hn::Store(hn::IfThenElse(hn::Eq(check, zero), zero, none), lanes, panel + j);
  }
  if (codes.l2) HalfSquares<kCodes>(values, width, panel);
  std::fill(panel + num_codes, panel + kCodes, kMinusInfinity);
  for (int64_t j = 0; j < kCodes; ++j) {
    if (panel[j] != kMinusInfinity) continue;
    for (int64_t d = 0; d < width; ++d) values[d * kCodes + j] = 0.0F;
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
