// One row a thread. The tokens kept are always a prefix of one order (larger logit first, lower index first of equals), so a
// cut is a value and how many of the tokens that equal it stay. The value is found by quickselect, pivots from a sample:
// each round counts, or sums the weights of, what is above the pivot and keeps the side that holds the cut. Nothing is
// sorted, the index of a token is needed only when it is drawn, and every sum is exact, so the order of work is free.

#include "kernels/cpu/sampling.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cstddef>
#include <hwy/aligned_allocator.h>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/sampling.cpp"
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef LEXEL_KERNELS_CPU_SAMPLING_ONCE
#define LEXEL_KERNELS_CPU_SAMPLING_ONCE
namespace lexel::kernels::cpu {

/// Memory for a row. Lists end with kPadding values that are never drawn, so that vectors may read past them.
struct Workspace {
  static constexpr size_t kPadding = 64;
  explicit Workspace(size_t vocabulary)
      : values(hwy::AllocateAligned<float>(vocabulary + 2 * kPadding)),
        others(hwy::AllocateAligned<float>(vocabulary + 2 * kPadding)),
        ids(hwy::AllocateAligned<int32_t>(vocabulary + 2 * kPadding)),
        weights(hwy::AllocateAligned<uint64_t>(vocabulary + 2 * kPadding)),
        other_weights(hwy::AllocateAligned<uint64_t>(vocabulary + 2 * kPadding)) {}
  hwy::AlignedFreeUniquePtr<float[]> values, others;
  hwy::AlignedFreeUniquePtr<int32_t[]> ids;
  hwy::AlignedFreeUniquePtr<uint64_t[]> weights, other_weights;
};

/// Logits in some order, with their weights where they count.
struct List {
  const float* values;
  const uint64_t* weights;  // null: each counts 1
  size_t size;
};

/// A cut of a list: above < wanted <= above + weight of the tokens that equal `value`.
struct Cut {
  float value;
  uint64_t above;
};

/// Counts, or sums of weights, on both sides of a pivot.
struct Sides {
  uint64_t greater, equal;
};

constexpr size_t kFewTokens = 32;
constexpr size_t kSample = 16;

struct Weighted {
  float value;
  uint64_t weight;
};

inline uint64_t weight_of(const List& list, size_t i) {
  return list.weights == nullptr ? 1 : list.weights[i];
}

/// Some tokens of a list, `step` apart, the largest first.
inline void sorted_tokens(const List& list, size_t first, size_t step, size_t count,
                          Weighted* sorted) {
  for (size_t i = 0; i < count; ++i) {
    const size_t at = first + i * step;
    const Weighted token{list.values[at], weight_of(list, at)};
    size_t place = i;
    for (; place > 0 && sorted[place - 1].value < token.value; --place) {
      sorted[place] = sorted[place - 1];
    }
    sorted[place] = token;
  }
}

/// The cut of a short list.
inline Cut find_cut_by_sorting(const List& list, uint64_t wanted, uint64_t above) {
  Weighted sorted[kFewTokens];
  sorted_tokens(list, 0, 1, list.size, sorted);
  for (size_t i = 0;;) {
    uint64_t equal = 0;
    const float value = sorted[i].value;
    for (; i < list.size && sorted[i].value == value; ++i) equal += sorted[i].weight;
    if (i == list.size || above + equal >= wanted) return {value, above};
    above += equal;
  }
}

/// A token near the cut: where the same share of a sample lies above it.
inline float pick_pivot(const List& list, uint64_t wanted, uint64_t total, size_t round) {
  Weighted sorted[kSample];
  const size_t step = list.size / kSample;
  sorted_tokens(list, round % step, step, kSample, sorted);
  double sample_total = 0;
  for (const Weighted& token : sorted) sample_total += static_cast<double>(token.weight);
  const double share = static_cast<double>(wanted) / static_cast<double>(total) * sample_total;
  double reached = 0;
  for (const Weighted& token : sorted) {
    reached += static_cast<double>(token.weight);
    if (reached >= share) return token.value;
  }
  return sorted[kSample - 1].value;
}

/// For each mask of 8 lanes, where its lanes stand, first to last.
struct PackingTable {
  uint8_t lanes[256][8] = {};
  constexpr PackingTable() {
    for (unsigned mask = 0; mask < 256; ++mask) {
      unsigned count = 0;
      for (unsigned lane = 0; lane < 8; ++lane) {
        if ((mask >> lane & 1U) != 0) lanes[mask][count++] = static_cast<uint8_t>(lane);
      }
    }
  }
};
inline constexpr PackingTable kPacking;

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Weights are 64 bits wide and are worked on with as many floats as fit beside them.
using Floats = hn::ScalableTag<float>;
using Ids = hn::RebindToSigned<Floats>;
using Wide = hn::ScalableTag<uint64_t>;
using Narrow = hn::Rebind<float, Wide>;
using NarrowBits = hn::Rebind<uint32_t, Wide>;

template <class Tag>
void Pad(Tag tag, hn::TFromD<Tag>* list, size_t size, hn::TFromD<Tag> value) {
  for (size_t i = 0; i < Workspace::kPadding; i += hn::Lanes(tag)) {
    hn::StoreU(hn::Set(tag, value), tag, list + size + i);
  }
}

/// guided_logit and finite_or_never of a row; returns the largest.
float GuidedLogits(const SamplingArguments& a, int64_t row, float* HWY_RESTRICT values) {
  const Floats floats;
  const size_t lanes = hn::Lanes(floats);
  const auto size = static_cast<size_t>(a.vocabulary);
  const float* const conditional = a.logits + row * a.vocabulary;
  const float* const unconditional = a.rule.guided ? a.unconditional + row * a.vocabulary : nullptr;
  const auto guidance = hn::Set(floats, a.rule.guidance);
  const auto limit = hn::Set(floats, std::numeric_limits<float>::max());
  const auto never = hn::Set(floats, kNeverDrawn);
  auto largest = never;
  size_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    auto value = hn::LoadU(floats, conditional + i);
    if (unconditional != nullptr) {
      const auto from = hn::LoadU(floats, unconditional + i);
      value = hn::Add(from, hn::Mul(guidance, hn::Sub(value, from)));
    }
    value = hn::IfThenElse(hn::Le(hn::Abs(value), limit), value, never);
    hn::Store(value, floats, values + i);
    largest = hn::Max(largest, value);
  }
  float result = hn::GetLane(hn::MaxOfLanes(floats, largest));
  for (; i < size; ++i) {
    values[i] = finite_or_never(
        a.rule.guided ? guided_logit(conditional[i], unconditional[i], a.rule.guidance)
                      : conditional[i]);
    result = std::max(result, values[i]);
  }
  Pad(floats, values, size, kNeverDrawn);
  return result;
}

/// token_weight of each value; returns their sum.
uint64_t Weights(const float* HWY_RESTRICT values, size_t size, float largest,
                 float inverse_temperature, uint64_t* HWY_RESTRICT weights) {
  const Wide wide;
  const Narrow narrow;
  const NarrowBits bits_tag;
  const size_t lanes = hn::Lanes(wide);
  const auto smallest = hn::Set(narrow, kSmallestExponent);
  const auto top = hn::Set(narrow, largest);
  const auto inverse = hn::Set(narrow, inverse_temperature);
  const auto rounder = hn::Set(narrow, kRounder);
  auto total = hn::Zero(wide);
  for (size_t i = 0; i < size; i += lanes) {
    auto x = hn::Mul(hn::Sub(hn::LoadU(narrow, values + i), top), inverse);
    x = hn::IfThenElse(hn::Gt(x, smallest), x, smallest);
    const auto shifted = hn::Add(hn::Mul(x, hn::Set(narrow, kInverseLn2)), rounder);
    const auto n = hn::Sub(shifted, rounder);
    const auto r = hn::Sub(hn::Sub(x, hn::Mul(n, hn::Set(narrow, kLn2High))),
                           hn::Mul(n, hn::Set(narrow, kLn2Low)));
    auto power = hn::Set(narrow, kTaylor[0]);
    HWY_UNROLL(8)
    for (int k = 1; k < 8; ++k) power = hn::Add(hn::Mul(power, r), hn::Set(narrow, kTaylor[k]));
    const auto bits = hn::BitCast(bits_tag, power);
    const auto rounded = hn::Sub(hn::BitCast(bits_tag, shifted), hn::BitCast(bits_tag, rounder));
    const auto mantissa =
        hn::Or(hn::And(bits, hn::Set(bits_tag, 0x7FFFFFU)), hn::Set(bits_tag, 0x800000U));
    const auto shift = hn::Sub(hn::Sub(hn::Set(bits_tag, 149U), hn::ShiftRight<23>(bits)), rounded);
    const auto weight =
        hn::Shr(hn::ShiftLeft<39>(hn::PromoteTo(wide, mantissa)), hn::PromoteTo(wide, shift));
    hn::StoreU(weight, wide, weights + i);
    total = hn::Add(total, weight);
  }
  Pad(wide, weights, size, 0);
  return hn::GetLane(hn::SumOfLanes(wide, total));
}

/// The mask of floats for the weights beside them.
template <class Mask>
HWY_INLINE auto WideMask(Mask mask) {
  const Wide wide;
  const Narrow narrow;
  const hn::RebindToSigned<Narrow> narrow_signed;
  const hn::RebindToSigned<Wide> wide_signed;
  const auto lanes = hn::BitCast(narrow_signed, hn::VecFromMask(narrow, mask));
  return hn::MaskFromVec(hn::BitCast(wide, hn::PromoteTo(wide_signed, lanes)));
}

Sides SumSides(const List& list, float pivot) {
  if (list.weights == nullptr) {
    const Floats floats;
    const auto middle = hn::Set(floats, pivot);
    size_t greater = 0, equal = 0;
    for (size_t i = 0; i < list.size; i += hn::Lanes(floats)) {
      const auto value = hn::LoadU(floats, list.values + i);
      greater += hn::CountTrue(floats, hn::Gt(value, middle));
      equal += hn::CountTrue(floats, hn::Eq(value, middle));
    }
    return {greater, equal};
  }
  const Wide wide;
  const Narrow narrow;
  const auto middle = hn::Set(narrow, pivot);
  auto greater = hn::Zero(wide), equal = hn::Zero(wide);
  for (size_t i = 0; i < list.size; i += hn::Lanes(wide)) {
    const auto value = hn::LoadU(narrow, list.values + i);
    const auto weight = hn::LoadU(wide, list.weights + i);
    greater = hn::Add(greater, hn::IfThenElseZero(WideMask(hn::Gt(value, middle)), weight));
    equal = hn::Add(equal, hn::IfThenElseZero(WideMask(hn::Eq(value, middle)), weight));
  }
  return {hn::GetLane(hn::SumOfLanes(wide, greater)), hn::GetLane(hn::SumOfLanes(wide, equal))};
}

// Packing the lanes of a mask: AVX-512's instruction, which stores no more than them; elsewhere a table (Highway 1.0's own
// is copied to the stack at each use), which stores a whole vector; one lane needs neither.
constexpr bool kHasCompress = HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86;

/// Stores the lanes of the mask side by side; returns how many. A vector from `to` on may be overwritten.
template <class Tag, class Vector, class Mask>
HWY_INLINE size_t StorePacked(Tag tag, Vector vector, Mask mask, hn::TFromD<Tag>* to) {
#if HWY_TARGET == HWY_SCALAR
  hn::StoreU(vector, tag, to);
  return hn::CountTrue(tag, mask);
#else
  if constexpr (kHasCompress) {
    return hn::CompressStore(vector, mask, tag, to);
  } else {
    const hn::Rebind<uint8_t, Tag> bytes;
    const hn::RebindToSigned<Tag> places;
    uint8_t bits[8];
    hn::StoreMaskBits(tag, mask, bits);
    const auto order = hn::PromoteTo(places, hn::LoadU(bytes, kPacking.lanes[bits[0]]));
    hn::StoreU(hn::TableLookupLanes(vector, hn::IndicesFromVec(tag, order)), tag, to);
    return hn::CountTrue(tag, mask);
  }
#endif
}

/// The same of weights, by the mask of the floats beside them.
template <class Mask>
HWY_INLINE void StorePackedWeights(hn::Vec<Wide> weights, [[maybe_unused]] Mask mask,
                                   uint64_t* to) {
  const Wide wide;
#if HWY_TARGET == HWY_SCALAR
  hn::StoreU(weights, wide, to);
#else
  if constexpr (kHasCompress) {
    hn::CompressStore(weights, WideMask(mask), wide, to);
  } else {  // as pairs of 32 bits
    const hn::Repartition<uint32_t, Wide> pairs;
    const auto both = hn::MaskFromVec(hn::BitCast(pairs, hn::VecFromMask(wide, WideMask(mask))));
    StorePacked(pairs, hn::BitCast(pairs, weights), both, reinterpret_cast<uint32_t*>(to));
  }
#endif
}

/// Copies the tokens in (low, high); in place is allowed. Returns how many.
size_t KeepBetween(const List& list, float low, float high, float* values, uint64_t* weights) {
  size_t size = 0;
  if (list.weights == nullptr) {
    const Floats floats;
    const auto lowest = hn::Set(floats, low), highest = hn::Set(floats, high);
    for (size_t i = 0; i < list.size; i += hn::Lanes(floats)) {
      const auto value = hn::LoadU(floats, list.values + i);
      const auto keep = hn::And(hn::Gt(value, lowest), hn::Lt(value, highest));
      size += StorePacked(floats, value, keep, values + size);
    }
  } else {
    const Wide wide;
    const Narrow narrow;
    const auto lowest = hn::Set(narrow, low), highest = hn::Set(narrow, high);
    for (size_t i = 0; i < list.size; i += hn::Lanes(wide)) {
      const auto value = hn::LoadU(narrow, list.values + i);
      const auto keep = hn::And(hn::Gt(value, lowest), hn::Lt(value, highest));
      StorePackedWeights(hn::LoadU(wide, list.weights + i), keep, weights + size);
      size += StorePacked(narrow, value, keep, values + size);
    }
    Pad(wide, weights, size, 0);
  }
  Pad(Floats(), values, size, kNeverDrawn);
  return size;
}

/// Where the list, largest first, reaches `wanted`, 1 .. total; total: all its counts or weights. Works in values, weights.
Cut FindCut(List list, uint64_t wanted, uint64_t total, float* values, uint64_t* weights) {
  uint64_t above = 0;  // of what was left out as too large
  for (size_t round = 0; list.size > kFewTokens; ++round) {
    const float pivot = pick_pivot(list, wanted - above, total, round);
    const Sides sides = SumSides(list, pivot);
    const bool greater = above + sides.greater >= wanted;
    if (!greater && above + sides.greater + sides.equal >= wanted) {
      return {pivot, above + sides.greater};
    }
    if (greater) {
      total = sides.greater;
    } else {
      above += sides.greater + sides.equal;
      total -= sides.greater + sides.equal;
    }
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const size_t size = greater ? KeepBetween(list, pivot, kInfinity, values, weights)
                                : KeepBetween(list, -kInfinity, pivot, values, weights);
    list = {values, list.weights == nullptr ? nullptr : weights, size};
  }
  return find_cut_by_sorting(list, wanted, above);
}

/// Copies the tokens kept by a cut, `count` with the first of those at its value, in order of index.
void KeepTokens(const float* values, size_t size, float cut, size_t count, size_t equal,
                float* kept, int32_t* ids) {
  const Floats floats;
  const Ids ids_tag;
  const auto bound = hn::Set(floats, cut);
  const auto step = hn::Set(ids_tag, static_cast<int32_t>(hn::Lanes(floats)));
  auto places = hn::Iota(ids_tag, 0);
  size_t found = 0;  // with all that equal the cut
  for (size_t i = 0; i < size; i += hn::Lanes(floats)) {
    const auto value = hn::LoadU(floats, values + i);
    const auto keep = hn::Ge(value, bound);
    StorePacked(ids_tag, places, hn::RebindMask(ids_tag, keep), ids + found);
    found += StorePacked(floats, value, keep, kept + found);
    places = hn::Add(places, step);
  }
  if (found > count) {  // the last of the equals go
    size_t result = 0;
    for (size_t i = 0; i < found; ++i) {
      if (kept[i] == cut) {
        if (equal == 0) continue;
        --equal;
      }
      kept[result] = kept[i];
      ids[result] = ids[i];
      ++result;
    }
  }
  Pad(floats, kept, count, kNeverDrawn);
}

/// The place in the list whose running sum exceeds `target`, of the tokens above the cut and the first `equal` at it.
size_t FindToken(const List& list, float cut, size_t equal, uint64_t target) {
  constexpr size_t kBlock = 256;
  for (size_t first = 0; first < list.size; first += kBlock) {
    const size_t size = std::min(kBlock, list.size - first);
    const List block{list.values + first, list.weights + first, size};
    const Sides sides = SumSides(block, cut);  // weights; past the end of the list they are 0
    size_t equals = 0;
    uint64_t equal_weight = 0;
    if (sides.equal > 0) {
      for (size_t i = 0; i < size; ++i) {
        if (block.values[i] == cut) {
          ++equals;
          equal_weight = block.weights[i];
        }
      }
    }
    const uint64_t sum = sides.greater + std::min(equals, equal) * equal_weight;
    if (target < sum) {
      for (size_t i = 0; i < size; ++i) {
        const bool at_cut = block.values[i] == cut;
        if (block.values[i] < cut || (at_cut && equal == 0)) continue;
        if (at_cut) --equal;
        if (target < block.weights[i]) return first + i;
        target -= block.weights[i];
      }
    }
    target -= sum;
    equal -= std::min(equals, equal);
  }
  return 0;  // not reached: target is less than the sum
}

void SampleRow(const SamplingArguments& a, int64_t row, Workspace& space) {
  float* values = space.values.get();
  float* others = space.others.get();
  const auto vocabulary = static_cast<size_t>(a.vocabulary);
  size_t size = vocabulary;
  const float largest = GuidedLogits(a, row, values);
  if (largest == kNeverDrawn) {
    a.ids[row] = 0;
    a.log_probabilities[row] = kNoProbability;
    return;
  }
  if (a.rule.inverse_temperature == 0.0F || a.rule.top_k == 1) {
    a.ids[row] = std::find(values, values + size, largest) - values;
    a.log_probabilities[row] = 0.0F;
    return;
  }

  const int32_t* ids = nullptr;  // null: the place in the list
  const auto top_k = static_cast<size_t>(a.rule.top_k);
  if (top_k < size) {
    const Sides finite = SumSides({values, nullptr, size}, kNeverDrawn);
    if (top_k < finite.greater) {
      const Cut cut = FindCut({values, nullptr, size}, top_k, finite.greater, others, nullptr);
      KeepTokens(values, size, cut.value, top_k, top_k - cut.above, others, space.ids.get());
      size = top_k;
      std::swap(values, others);
      ids = space.ids.get();
    }
  }

  uint64_t* const weights = space.weights.get();
  uint64_t total = Weights(values, size, largest, a.rule.inverse_temperature, weights);
  const List list{values, weights, size};
  float cut = kNeverDrawn;
  size_t equal = 0;
  if (a.rule.top_p < 1.0) {
    const uint64_t wanted = top_p_threshold(total, a.rule.top_p);
    const Cut found = FindCut(list, wanted, total, others, space.other_weights.get());
    const uint64_t weight = token_weight(found.value - largest, a.rule.inverse_temperature);
    cut = found.value;
    equal = static_cast<size_t>((wanted - found.above + weight - 1) / weight);
    total = found.above + equal * weight;
  }
  const uint64_t target = draw_below(total, a.rule.seed, a.pictures[row], a.positions[row]);
  const size_t place = FindToken(list, cut, equal, target);
  a.ids[row] = ids == nullptr ? static_cast<int64_t>(place) : ids[place];
  a.log_probabilities[row] = log_probability(weights[place], total);
}

void SampleRows(const SamplingArguments& arguments, int64_t first, int64_t last) {
  Workspace space(static_cast<size_t>(arguments.vocabulary));
  for (int64_t row = first; row < last; ++row) SampleRow(arguments, row, space);
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(SampleRows);

void sample(const SamplingArguments& arguments) {
  constexpr int64_t kGrain = 1 << 13;  // tokens that are worth a thread
  at::parallel_for(0, arguments.num_rows, 1 + kGrain / arguments.vocabulary,
                   [&](int64_t first, int64_t last) {
                     HWY_DYNAMIC_DISPATCH(SampleRows)(arguments, first, last);
                   });
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
