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

/// Writes (D, kLanes) of `sources` to target, whose lines are `stride` floats apart.
HWY_INLINE void Transpose(const float* const* sources, int64_t width, int64_t stride,
                          float* HWY_RESTRICT target) {
  int64_t d = 0;
#if HWY_TARGET != HWY_SCALAR
  const Lanes lanes;
  const hn::Repartition<double, Lanes> pairs;
  for (; d + 4 <= width; d += 4) {
    const Vector a = LoadBlocks<kLanes>(sources, d), b = LoadBlocks<kLanes>(sources + 1, d);
    const Vector c = LoadBlocks<kLanes>(sources + 2, d), e = LoadBlocks<kLanes>(sources + 3, d);
    // In each block: the widths 0, 1 of two codes, then the widths 2, 3.
    const auto ab_low = hn::BitCast(pairs, hn::InterleaveLower(lanes, a, b));
    const auto ab_high = hn::BitCast(pairs, hn::InterleaveUpper(lanes, a, b));
    const auto ce_low = hn::BitCast(pairs, hn::InterleaveLower(lanes, c, e));
    const auto ce_high = hn::BitCast(pairs, hn::InterleaveUpper(lanes, c, e));
    float* const line = target + d * stride;
    hn::Store(hn::BitCast(lanes, hn::InterleaveLower(pairs, ab_low, ce_low)), lanes, line);
    hn::Store(hn::BitCast(lanes, hn::InterleaveUpper(pairs, ab_low, ce_low)), lanes, line + stride);
    hn::Store(hn::BitCast(lanes, hn::InterleaveLower(pairs, ab_high, ce_high)), lanes,
              line + 2 * stride);
    hn::Store(hn::BitCast(lanes, hn::InterleaveUpper(pairs, ab_high, ce_high)), lanes,
              line + 3 * stride);
  }
#endif
  for (; d < width; ++d) {
    for (int64_t j = 0; j < kLanes; ++j) target[d * stride + j] = sources[j][d];
  }
}

/// Bias of the kLanes codes whose transposed values begin at `values`; -infinity where one is not finite. The squares are
/// summed in float64 one after the other, so that the bias does not depend on the target.
HWY_INLINE void Biases(const float* HWY_RESTRICT values, int64_t width, int64_t stride, bool l2,
                       float* HWY_RESTRICT bias) {
  const Lanes lanes;
  if (!l2) {
    const Vector zero = hn::Zero(lanes);
    Vector sum = zero;  // 0, or NaN as soon as a value is not finite
    for (int64_t d = 0; d < width; ++d) {
      sum = hn::MulAdd(hn::Load(lanes, values + d * stride), zero, sum);
    }
    const Vector none = hn::Set(lanes, kMinusInfinity);
    hn::Store(hn::IfThenElse(hn::Eq(sum, zero), zero, none), lanes, bias);
    return;
  }
  HWY_ALIGN double squares[kLanes] = {};
#if HWY_TARGET == HWY_SCALAR
  for (int64_t d = 0; d < width; ++d) squares[0] += double{values[d * stride]} * values[d * stride];
#else
  const hn::ScalableTag<double> wide;
  const hn::Half<Lanes> half;
  constexpr int64_t kHalf = kLanes / 2;
  auto low = hn::Zero(wide), high = low;
  for (int64_t d = 0; d < width; ++d) {
    const auto a = hn::PromoteTo(wide, hn::Load(half, values + d * stride));
    const auto b = hn::PromoteTo(wide, hn::Load(half, values + d * stride + kHalf));
    low = hn::MulAdd(a, a, low);  // the product is exact, with or without a fused addition
    high = hn::MulAdd(b, b, high);
  }
  hn::Store(low, wide, squares);
  hn::Store(high, wide, squares + kHalf);
#endif
  for (int64_t j = 0; j < kLanes; ++j) {
    const auto value = static_cast<float>(-0.5 * squares[j]);
    bias[j] = std::isfinite(value) ? value : kMinusInfinity;
  }
}

/// Packs the codes in play from place `first` on.
template <int64_t kCodes>
void PackPanel(const CodesInPlay& codes, int64_t first, float* HWY_RESTRICT panel) {
  static_assert(kCodes % kLanes == 0);
  const int64_t width = codes.width;
  const int64_t num_codes = std::min(kCodes, codes.count - first);
  const float* sources[kCodes];
  for (int64_t j = 0; j < kCodes; ++j) {
    sources[j] = codes.code(first + std::min(j, num_codes - 1));
  }
  float* const values = panel + kCodes;
  for (int64_t j = 0; j < kCodes; j += kLanes) {
    Transpose(sources + j, width, kCodes, values + j);
    Biases(values + j, width, kCodes, codes.l2, panel + j);
  }
  std::fill(panel + num_codes, panel + kCodes, kMinusInfinity);
  for (int64_t j = 0; j < kCodes; ++j) {
    if (panel[j] != kMinusInfinity) continue;
    for (int64_t d = 0; d < width; ++d) values[d * kCodes + j] = 0.0F;
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
