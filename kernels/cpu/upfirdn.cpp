// Row by row of the result: the source rows under the filter's column are added up into one row, with the zeros of `up` and
// of the padding in place; then the filter's row goes over it. Both steps run over pixels and channels as one long row, so that
// contiguous pictures (one value a pixel) and channels-last ones take the same way.
//
// A filter that is a column times a row takes one such pair; any other takes one for each of its rows.

#include "kernels/cpu/upfirdn.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <hwy/aligned_allocator.h>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/upfirdn.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef LEXEL_KERNELS_CPU_UPFIRDN_ONCE
#define LEXEL_KERNELS_CPU_UPFIRDN_ONCE
namespace lexel::kernels::cpu {

/// The filter as a sum of products of a column and a row.
struct SeparateFilter {
  int num_terms = 0;
  float columns[kUpfirdnMaxSide][kUpfirdnMaxSide] = {};
  float rows[kUpfirdnMaxSide][kUpfirdnMaxSide] = {};
};

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
using Vector = hn::Vec<Lanes>;

HWY_INLINE Vector LoadValues(const float* HWY_RESTRICT p) { return hn::LoadU(Lanes(), p); }

HWY_INLINE Vector LoadValues(const uint16_t* HWY_RESTRICT p) {
  const hn::Rebind<uint16_t, Lanes> d16;
  const hn::Rebind<uint32_t, Lanes> d32;
  return hn::BitCast(Lanes(), hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, p))));
}

HWY_INLINE void StoreValues(Vector v, float* HWY_RESTRICT p) { hn::StoreU(v, Lanes(), p); }

HWY_INLINE void StoreValues(Vector v, uint16_t* HWY_RESTRICT p) {
  const Lanes d;
  const hn::Rebind<uint16_t, Lanes> d16;
  const hn::Rebind<uint32_t, Lanes> d32;
  const hn::Rebind<int32_t, Lanes> i32;
  const auto quiet = hn::BitCast(d, hn::Set(d32, 0x7FC00000U));
  const auto bits = hn::BitCast(d32, hn::IfThenElse(hn::IsNaN(v), quiet, v));
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d32, 1U));
  const auto upper =
      hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d32, 0x7FFFU))));  // nearest even
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(i32, upper)), d16, p);
}

/// Some sources with a weight each, in `runs` runs of `count` values; runs of sources begin `step` values apart, those of the
/// result lie end to end.
template <class In>
struct Sums {
  const In* sources[kUpfirdnMaxSide];
  float weights[kUpfirdnMaxSide];
  int num_sources = 0;
  int64_t runs = 1, count = 0, step = 0;

  void add(const In* source, float weight) {
    sources[num_sources] = source;
    weights[num_sources++] = weight;
  }
};

HWY_INLINE float ToFloat(float value) { return value; }

HWY_INLINE float ToFloat(uint16_t value) {
  const uint32_t bits = uint32_t{value} << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

/// out = (before or 0) + the weighted sum. kSources 0: s.num_sources of them.
template <int kSources, class In, class Out>
HWY_INLINE void AddUpSome(const Sums<In>& s, const float* before, Out* out) {
  const Lanes d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int num_sources = kSources > 0 ? kSources : s.num_sources;
  for (int64_t run = 0; run < s.runs; ++run) {
    const int64_t from = run * s.step, to = run * s.count;
    int64_t i = 0;
    for (; i + lanes <= s.count; i += lanes) {
      auto sum = before ? hn::LoadU(d, before + to + i) : hn::Zero(d);
      HWY_UNROLL(4)
      for (int k = 0; k < num_sources; ++k) {
        sum = hn::MulAdd(hn::Set(d, s.weights[k]), LoadValues(s.sources[k] + from + i), sum);
      }
      StoreValues(sum, out + to + i);
    }
    for (; i < s.count; ++i) {
      float sum = before ? before[to + i] : 0.0F;
      for (int k = 0; k < num_sources; ++k) {
        sum += s.weights[k] * ToFloat(s.sources[k][from + i]);
      }
      HWY_ALIGN Out values[hn::MaxLanes(d)];
      StoreValues(hn::Set(d, sum), values);
      out[to + i] = values[0];
    }
  }
}

template <class In, class Out>
HWY_NOINLINE void AddUp(const Sums<In>& arguments, const float* before, Out* out) {
  const Sums<In> s = arguments;  // so that the stores cannot change it
  if (s.num_sources == 4) {
    AddUpSome<4>(s, before, out);
  } else if (s.num_sources == 2) {
    AddUpSome<2>(s, before, out);
  } else {
    AddUpSome<0>(s, before, out);
  }
}

/// Rows first .. last-1 of the result, counted through all images.
template <class T>
HWY_INLINE void Rows(const UpfirdnPart& part, const SeparateFilter& filter, const T* x, T* result,
                     int64_t first, int64_t last) {
  const int64_t channels = part.channels;
  // The padded row reaches from the first tap of the first pixel to the last tap of the last.
  const int64_t padded_width = (part.out_width - 1) * part.down + part.filter_width;
  const int64_t dense_width = (part.out_width - 1) * part.down + 1;
  const auto padded = hwy::AllocateAligned<float>(static_cast<size_t>(padded_width * channels));
  const auto dense = hwy::AllocateAligned<float>(
      static_cast<size_t>(std::max(part.width, dense_width) * channels));
  const auto sums = hwy::AllocateAligned<float>(static_cast<size_t>(part.out_width * channels));
  std::fill_n(padded.get(), padded_width * channels, 0.0F);
  // Source pixels that fall into the padded row: 0 <= x up + left < padded_width.
  const auto divide_up = [](int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : 0; };
  const int64_t begin = std::min(part.width, divide_up(-part.left, part.up));
  const int64_t end =
      std::max(begin, std::min(part.width, divide_up(padded_width - part.left, part.up)));

  for (int64_t i = first; i < last; ++i) {
    const int64_t image = i / part.out_height, y = i % part.out_height;
    const T* const source = x + image * part.height * part.width * channels;
    T* const out = result + i * part.out_width * channels;
    for (int term = 0; term < filter.num_terms; ++term) {
      Sums<T> column;
      column.count = (end - begin) * channels;
      for (int64_t k = 0; k < part.filter_height; ++k) {
        const int64_t place = y * part.down + k - part.top;  // among the rows with zeros between
        const float weight = filter.columns[term][k];
        if (weight == 0.0F || place < 0 || place % part.up != 0) continue;
        if (place / part.up >= part.height) continue;
        column.add(source + (place / part.up * part.width + begin) * channels, weight);
      }
      if (part.up == 1) {
        AddUp(column, nullptr, padded.get() + (begin + part.left) * channels);
      } else {
        AddUp(column, nullptr, dense.get());
        for (int64_t pixel = begin; pixel < end; ++pixel) {
          std::copy_n(dense.get() + (pixel - begin) * channels, channels,
                      padded.get() + (pixel * part.up + part.left) * channels);
        }
      }

      Sums<float> row;
      for (int64_t k = 0; k < part.filter_width; ++k) {
        row.add(padded.get() + k * channels, filter.rows[term][k]);
      }
      const float* const before = term > 0 ? sums.get() : nullptr;
      const bool is_last = term + 1 == filter.num_terms;
      if (part.down == 1 || channels >= static_cast<int64_t>(hn::Lanes(Lanes()))) {
        row.runs = part.down == 1 ? 1 : part.out_width;
        row.count = part.out_width * channels / row.runs;
        row.step = part.down * channels;
        if (is_last) {
          AddUp(row, before, out);
        } else {
          AddUp(row, before, sums.get());
        }
        continue;
      }
      row.count = dense_width * channels;  // all pixels, then every down-th of them
      AddUp(row, nullptr, dense.get());
      for (int64_t pixel = 0; pixel < part.out_width; ++pixel) {
        for (int64_t c = 0; c < channels; ++c) {
          const float value = dense[static_cast<size_t>(pixel * part.down * channels + c)];
          float& sum = sums[static_cast<size_t>(pixel * channels + c)];
          sum = term > 0 ? sum + value : value;
        }
      }
      if (is_last) {
        Sums<float> all;
        all.count = part.out_width * channels;
        AddUp(all, sums.get(), out);
      }
    }
  }
}

void RowsOfFloat(const UpfirdnPart& part, const SeparateFilter& filter, const float* x,
                 float* result, int64_t first, int64_t last) {
  Rows(part, filter, x, result, first, last);
}

void RowsOfBfloat16(const UpfirdnPart& part, const SeparateFilter& filter, const uint16_t* x,
                    uint16_t* result, int64_t first, int64_t last) {
  Rows(part, filter, x, result, first, last);
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(RowsOfFloat);
HWY_EXPORT(RowsOfBfloat16);

namespace {

SeparateFilter separate(const UpfirdnPart& part) {
  const auto height = static_cast<size_t>(part.filter_height);
  const auto width = static_cast<size_t>(part.filter_width);
  const auto at = [&](size_t y, size_t x) { return part.filter[y * width + x]; };
  SeparateFilter result;
  // One column times one row, if every product rounds to the filter's value: through the largest value.
  size_t top = 0, left = 0;
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 0; x < width; ++x) {
      if (std::abs(at(y, x)) > std::abs(at(top, left))) top = y, left = x;
    }
  }
  bool separable = true;
  for (size_t y = 0; y < height; ++y) {
    result.columns[0][y] = at(y, left);
    for (size_t x = 0; x < width; ++x) {
      const double row = at(top, left) == 0.0F ? 0.0 : double{at(top, x)} / at(top, left);
      result.rows[0][x] = static_cast<float>(row);
      separable = separable && static_cast<float>(at(y, left) * row) == at(y, x);
    }
  }
  result.num_terms = separable ? 1 : static_cast<int>(height);
  if (separable) return result;
  for (size_t y = 0; y < height; ++y) {
    std::fill_n(result.columns[y], kUpfirdnMaxSide, 0.0F);
    result.columns[y][y] = 1.0F;
    for (size_t x = 0; x < width; ++x) result.rows[y][x] = at(y, x);
  }
  return result;
}

/// Calls rows(filter, first, last) for all rows of the result.
template <class RowsFunction>
void for_all_rows(const UpfirdnPart& part, const RowsFunction& rows) {
  constexpr int64_t kGrain = 1 << 14;  // values of the result that are worth a thread
  const SeparateFilter filter = separate(part);
  at::parallel_for(0, part.images * part.out_height, 1 + kGrain / (part.out_width * part.channels),
                   [&](int64_t first, int64_t last) { rows(filter, first, last); });
}

}  // namespace

void upfirdn2d(const UpfirdnPart& part, const float* x, float* result) {
  for_all_rows(part, [&](const SeparateFilter& filter, int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(RowsOfFloat)(part, filter, x, result, first, last);
  });
}

void upfirdn2d(const UpfirdnPart& part, const uint16_t* x, uint16_t* result) {
  for_all_rows(part, [&](const SeparateFilter& filter, int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(RowsOfBfloat16)(part, filter, x, result, first, last);
  });
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
