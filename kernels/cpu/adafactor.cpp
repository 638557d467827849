// One Adafactor step in three passes over memory: the sums of squares (4 bytes a weight), the root mean square of the
// update (4), the update (20, or 14 with the int8 first moment).
//
// The first two passes go by tiles of the matrix; each tile writes sums of its own, which are added in the tiles' order.
// The third goes by blocks of 128 weights, across the ends of rows.

#include "kernels/cpu/adafactor.h"

#include <ATen/Parallel.h>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <hwy/aligned_allocator.h>
#include <hwy/cache_control.h>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adafactor.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef LEXEL_KERNELS_CPU_ADAFACTOR_ONCE
#define LEXEL_KERNELS_CPU_ADAFACTOR_ONCE
namespace lexel::kernels::cpu {

/// How the matrix is cut, and the scratch.
struct AdafactorWork {
  AdafactorPart part;
  int64_t tile_rows, tile_columns;
  int64_t row_tiles, column_tiles;
  float* row_sums;      // (column_tiles, R): sums of g^2
  float* column_sums;   // (row_tiles, C)
  double* update_sums;  // (row_tiles, column_tiles): sums of u^2
  float* row_scale;     // (R): gradient_scale / sqrt(row / mean(row))
  float* column_scale;  // (C): 1 / sqrt(column)
  float update_scale;   // (1 - beta1) / max(1, rms(u) / clip_threshold)
};

}  // namespace lexel::kernels::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace lexel::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::ScalableTag<float>;
constexpr int64_t kAhead =
    256;  // floats to fetch ahead: the hardware loses streams that start anew each row

/// The part of the matrix that a tile covers.
struct Tile {
  int64_t first_row, end_row, first_column, width;
};

HWY_INLINE Tile TileAt(const AdafactorWork& work, int64_t tile) {
  const int64_t row = tile / work.column_tiles * work.tile_rows;
  const int64_t column = tile % work.column_tiles * work.tile_columns;
  return {row, std::min(work.part.rows, row + work.tile_rows), column,
          std::min(work.tile_columns, work.part.columns - column)};
}

/// Adds g^2 of kRows rows, `stride` floats apart, to column_sums (width); row_sums (kRows) are written.
template <int kRows>
HWY_INLINE void SumRows(const float* HWY_RESTRICT g, int64_t stride, int64_t width,
                        float* HWY_RESTRICT column_sums, float* HWY_RESTRICT row_sums) {
  const Lanes d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = width / lanes * lanes;
  hn::Vec<Lanes> sums[kRows];
  HWY_UNROLL(4)
  for (int r = 0; r < kRows; ++r) sums[r] = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += lanes) {
    auto total = hn::LoadU(d, column_sums + i);
    HWY_UNROLL(4)
    for (int r = 0; r < kRows; ++r) {
      const float* const place = g + r * stride + i;
      hwy::Prefetch(place + kRows * stride);
      const auto value = hn::LoadU(d, place);
      total = hn::MulAdd(value, value, total);
      sums[r] = hn::MulAdd(value, value, sums[r]);
    }
    hn::StoreU(total, d, column_sums + i);
  }
  for (int r = 0; r < kRows; ++r) {
    float sum = hn::GetLane(hn::SumOfLanes(d, sums[r]));
    for (int64_t i = whole; i < width; ++i) {
      const float square = g[r * stride + i] * g[r * stride + i];
      column_sums[i] += square;
      sum += square;
    }
    row_sums[r] = sum;
  }
}

/// Row and column sums of g^2 of tiles first .. last-1. Four rows at a time are four streams from memory: one alone does
/// not keep it busy.
void SumTiles(const AdafactorWork& work, int64_t first, int64_t last) {
  const int64_t columns = work.part.columns;
  for (int64_t i = first; i < last; ++i) {
    const Tile tile = TileAt(work, i);
    const float* const g = work.part.gradient + tile.first_column;
    float* const column_sums =
        work.column_sums + i / work.column_tiles * columns + tile.first_column;
    float* const row_sums = work.row_sums + i % work.column_tiles * work.part.rows;
    std::fill_n(column_sums, tile.width, 0.0F);
    int64_t row = tile.first_row;
    for (; row + 4 <= tile.end_row; row += 4) {
      SumRows<4>(g + row * columns, columns, tile.width, column_sums, row_sums + row);
    }
    for (; row < tile.end_row; ++row) {
      SumRows<1>(g + row * columns, columns, tile.width, column_sums, row_sums + row);
    }
  }
}

/// Sum of u^2 of kRows rows, as in SumRows.
template <int kRows>
HWY_INLINE double SumRowsOfUpdate(const float* HWY_RESTRICT g, int64_t stride, int64_t width,
                                  const float* HWY_RESTRICT column_scale,
                                  const float* HWY_RESTRICT row_scale) {
  const Lanes d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = width / lanes * lanes;
  hn::Vec<Lanes> sums[kRows];
  HWY_UNROLL(4)
  for (int r = 0; r < kRows; ++r) sums[r] = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += lanes) {
    const auto scale = hn::LoadU(d, column_scale + i);
    HWY_UNROLL(4)
    for (int r = 0; r < kRows; ++r) {
      const float* const place = g + r * stride + i;
      hwy::Prefetch(place + kRows * stride);
      const auto u = hn::Mul(hn::Mul(hn::LoadU(d, place), hn::Set(d, row_scale[r])), scale);
      sums[r] = hn::MulAdd(u, u, sums[r]);
    }
  }
  double total = 0.0;
  for (int r = 0; r < kRows; ++r) {
    float sum = hn::GetLane(hn::SumOfLanes(d, sums[r]));
    for (int64_t i = whole; i < width; ++i) {
      const float u = g[r * stride + i] * row_scale[r] * column_scale[i];
      sum += u * u;
    }
    total += double{sum};
  }
  return total;
}

/// Sums of u^2, before clipping, of tiles first .. last-1.
void SumUpdates(const AdafactorWork& work, int64_t first, int64_t last) {
  const int64_t columns = work.part.columns;
  for (int64_t i = first; i < last; ++i) {
    const Tile tile = TileAt(work, i);
    const float* const g = work.part.gradient + tile.first_column;
    const float* const scale = work.column_scale + tile.first_column;
    double total = 0.0;
    int64_t row = tile.first_row;
    for (; row + 4 <= tile.end_row; row += 4) {
      total +=
          SumRowsOfUpdate<4>(g + row * columns, columns, tile.width, scale, work.row_scale + row);
    }
    for (; row < tile.end_row; ++row) {
      total +=
          SumRowsOfUpdate<1>(g + row * columns, columns, tile.width, scale, work.row_scale + row);
    }
    work.update_sums[i] = total;
  }
}

/// One block of 128: u before clipping, weights, and the first moment before and after the step, unrounded.
HWY_INLINE void UpdateBlock(const AdafactorWork& work, const float* HWY_RESTRICT u,
                            float* HWY_RESTRICT weights, float* HWY_RESTRICT moment) {
  const Lanes d;
  const auto beta1 = hn::Set(d, work.part.beta1), scale = hn::Set(d, work.update_scale);
  const auto keep = hn::Set(d, work.part.keep), rate = hn::Set(d, work.part.rate);
  for (size_t i = 0; i < kAdafactorBlock; i += hn::Lanes(d)) {
    const auto m = hn::MulAdd(beta1, hn::LoadU(d, moment + i), hn::Mul(scale, hn::LoadU(d, u + i)));
    hn::StoreU(m, d, moment + i);
    hn::StoreU(hn::NegMulAdd(rate, m, hn::Mul(keep, hn::LoadU(d, weights + i))), d, weights + i);
  }
}

/// moment (128) from int8.
HWY_INLINE void Unpack(const int8_t* HWY_RESTRICT packed, float packed_scale,
                       float* HWY_RESTRICT moment) {
  const Lanes d;
  const hn::Rebind<int8_t, Lanes> d8;
  const hn::Rebind<int32_t, Lanes> d32;
  const auto scale = hn::Set(d, packed_scale);
  for (size_t i = 0; i < kAdafactorBlock; i += hn::Lanes(d)) {
    const auto whole = hn::PromoteTo(d32, hn::LoadU(d8, packed + i));
    hn::StoreU(hn::Mul(hn::ConvertTo(d, whole), scale), d, moment + i);
  }
}

/// moment (128) to int8; returns the scale.
HWY_INLINE float Pack(const float* HWY_RESTRICT moment, int8_t* HWY_RESTRICT packed) {
  const Lanes d;
  const hn::Rebind<int8_t, Lanes> d8;
  auto top = hn::Zero(d);
  for (size_t i = 0; i < kAdafactorBlock; i += hn::Lanes(d)) {
    top = hn::Max(top, hn::Abs(hn::LoadU(d, moment + i)));
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(d, top));
  const auto inverse = hn::Set(d, largest > 0 ? 127.0F / largest : 0.0F);
  for (size_t i = 0; i < kAdafactorBlock; i += hn::Lanes(d)) {
    const auto whole = hn::NearestInt(hn::Mul(hn::LoadU(d, moment + i), inverse));
    hn::StoreU(hn::DemoteTo(d8, whole), d8, packed + i);
  }
  return largest / 127.0F + 0.0F * moment[0];  // a gradient that is not finite spoils every u
}

/// Blocks first .. last-1.
void UpdateBlocks(const AdafactorWork& work, int64_t first, int64_t last) {
  const Lanes d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const AdafactorPart& part = work.part;
  const int64_t numel = part.rows * part.columns;
  HWY_ALIGN float u[kAdafactorBlock] = {}, weights[kAdafactorBlock] = {},
                  moment[kAdafactorBlock] = {};
  HWY_ALIGN int8_t packed[kAdafactorBlock] = {};

  int64_t row = first * kAdafactorBlock / part.columns;
  int64_t column = first * kAdafactorBlock % part.columns;
  for (int64_t block = first; block < last; ++block) {
    const int64_t begin = block * kAdafactorBlock;
    const int64_t count = std::min(kAdafactorBlock, numel - begin);
    for (int64_t done = 0; done < count;) {  // u, row by row
      const int64_t length = std::min(count - done, part.columns - column);
      const float* HWY_RESTRICT const g = part.gradient + begin + done;
      const float* HWY_RESTRICT const scale = work.column_scale + column;
      const auto row_scale = hn::Set(d, work.row_scale[row]);
      int64_t i = 0;
      for (; i + lanes <= length; i += lanes) {
        hwy::Prefetch(g + i + kAhead);
        hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, g + i), row_scale), hn::LoadU(d, scale + i)), d,
                   u + done + i);
      }
      for (; i < length; ++i) u[done + i] = g[i] * work.row_scale[row] * scale[i];
      done += length;
      column += length;
      if (column == part.columns) {
        column = 0;
        ++row;
      }
    }
    if (count == kAdafactorBlock) {
      for (int64_t i = 0; i < kAdafactorBlock; i += 16) {  // a cache line
        hwy::Prefetch(part.weights + begin + kAhead + i);
        if (part.first_moment) hwy::Prefetch(part.first_moment + begin + kAhead + i);
      }
      if (part.first_moment) {
        UpdateBlock(work, u, part.weights + begin, part.first_moment + begin);
      } else {
        Unpack(part.first_moment_int8 + begin, part.first_scales[block], moment);
        UpdateBlock(work, u, part.weights + begin, moment);
        part.first_scales[block] = Pack(moment, part.first_moment_int8 + begin);
      }
      continue;
    }
    // The last block, cut short: zeros stand for the rest.
    std::fill(u + count, u + kAdafactorBlock, 0.0F);
    std::copy_n(part.weights + begin, count, weights);
    std::fill_n(moment, kAdafactorBlock, 0.0F);
    if (part.first_moment) {
      std::copy_n(part.first_moment + begin, count, moment);
    } else {
      std::copy_n(part.first_moment_int8 + begin, count, packed);
      Unpack(packed, part.first_scales[block], moment);
    }
    UpdateBlock(work, u, weights, moment);
    std::copy_n(weights, count, part.weights + begin);
    if (part.first_moment) {
      std::copy_n(moment, count, part.first_moment + begin);
    } else {
      part.first_scales[block] = Pack(moment, packed);
      std::copy_n(packed, count, part.first_moment_int8 + begin);
    }
  }
}

}  // namespace lexel::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lexel::kernels::cpu {

HWY_EXPORT(SumTiles);
HWY_EXPORT(SumUpdates);
HWY_EXPORT(UpdateBlocks);

namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Calls found(i, sum) for each of `size` sums over lines (num_lines, size), which are added in their order.
template <class Number, class Found>
void add_lines(const Number* lines, int64_t num_lines, int64_t size, const Found& found) {
  at::parallel_for(0, size, 4096, [&](int64_t begin, int64_t end) {
    std::vector<double> total(static_cast<size_t>(end - begin));
    for (int64_t k = 0; k < num_lines; ++k) {
      const Number* const line = lines + k * size + begin;
      for (int64_t i = 0; i < end - begin; ++i) total[static_cast<size_t>(i)] += double{line[i]};
    }
    for (int64_t i = begin; i < end; ++i) found(i, total[static_cast<size_t>(i - begin)]);
  });
}

/// A step under way: how the matrix is cut into tiles, and the scratch.
class Step {
 public:
  explicit Step(const AdafactorPart& part) {
    constexpr int64_t kTileColumns = 4096, kTile = 1 << 18;  // floats
    constexpr int64_t kMinTileRows = 128, kMaxTileRows = 1024;
    const int64_t rows = part.rows, columns = part.columns;
    work_.part = part;
    work_.tile_columns = std::min(columns, kTileColumns);
    work_.tile_rows = std::clamp(kTile / work_.tile_columns, kMinTileRows, kMaxTileRows);
    work_.row_tiles = divide_up(rows, work_.tile_rows);
    work_.column_tiles = divide_up(columns, work_.tile_columns);
    floats_ = hwy::AllocateAligned<float>(static_cast<size_t>(
        work_.column_tiles * rows + work_.row_tiles * columns + rows + columns));
    work_.row_sums = floats_.get();
    work_.column_sums = work_.row_sums + work_.column_tiles * rows;
    work_.row_scale = work_.column_sums + work_.row_tiles * columns;
    work_.column_scale = work_.row_scale + rows;
    update_sums_.resize(static_cast<size_t>(tiles()));
    work_.update_sums = update_sums_.data();
  }

  void sum_squares() {
    at::parallel_for(0, tiles(), 1, [this](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(SumTiles)(work_, first, last);
    });
  }

  /// The squares as they were summed: (R + C).
  void write_sums(double* sums) const {
    const int64_t rows = work_.part.rows;
    add_lines(work_.row_sums, work_.column_tiles, rows,
              [sums](int64_t i, double sum) { sums[i] = sum; });
    add_lines(work_.column_sums, work_.row_tiles, work_.part.columns,
              [sums, rows](int64_t i, double sum) { sums[rows + i] = sum; });
  }

  /// The new running means, of lines of sums.
  template <class Number>
  void set_factors(const Number* row_sums, int64_t row_lines, const Number* column_sums,
                   int64_t column_lines) const {
    const AdafactorPart& part = work_.part;
    const auto average = [&part](float* factor, int64_t terms) {
      const double scale = double{part.gradient_scale} * part.gradient_scale / double(terms);
      return [&part, factor, scale](int64_t i, double sum) {
        const double mean = sum * scale + part.epsilon;
        factor[i] = static_cast<float>(part.beta2 * factor[i] + (1.0 - part.beta2) * mean);
      };
    };
    add_lines(row_sums, row_lines, part.rows, average(part.row_factor, part.whole_columns));
    add_lines(column_sums, column_lines, part.columns,
              average(part.column_factor, part.whole_rows));
  }
  void set_factors_of_own_sums() const {
    set_factors(work_.row_sums, work_.column_tiles, work_.column_sums, work_.row_tiles);
  }

  double sum_of_rows() const {
    double sum = 0.0;
    for (int64_t i = 0; i < work_.part.rows; ++i) sum += double{work_.part.row_factor[i]};
    return sum;
  }

  /// From the factors: u = g row_scale column_scale where mean_row is the mean of the row factor.
  void set_scales(double mean_row) {
    const AdafactorPart& part = work_.part;
    for (int64_t i = 0; i < part.rows; ++i) {
      work_.row_scale[i] =
          static_cast<float>(part.gradient_scale / std::sqrt(part.row_factor[i] / mean_row));
    }
    for (int64_t i = 0; i < part.columns; ++i) {
      work_.column_scale[i] = static_cast<float>(1.0 / std::sqrt(double{part.column_factor[i]}));
    }
  }

  /// Sum of (g row_scale column_scale)^2.
  double sum_of_updates() {
    at::parallel_for(0, tiles(), 1, [this](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(SumUpdates)(work_, first, last);
    });
    double sum = 0.0;
    for (const double s : update_sums_) sum += s;
    return sum;
  }

  /// squares   sum of u^2 of the whole matrix
  void update(double squares) {
    const AdafactorPart& part = work_.part;
    double excess = 1.0;
    if (part.clip_threshold > 0) {
      excess = std::sqrt(squares / (double(part.whole_rows) * double(part.whole_columns))) /
               part.clip_threshold;
      if (excess <= 1.0) excess = 1.0;  // NaN stays
    }
    work_.update_scale = static_cast<float>(part.one_minus_beta1 / excess);
    const int64_t blocks = divide_up(part.rows * part.columns, kAdafactorBlock);
    at::parallel_for(0, blocks, 128, [this](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(UpdateBlocks)(work_, first, last);
    });
  }

 private:
  int64_t tiles() const { return work_.row_tiles * work_.column_tiles; }

  AdafactorWork work_{};
  hwy::AlignedFreeUniquePtr<float[]> floats_;
  std::vector<double> update_sums_;
};

}  // namespace

void adafactor(const AdafactorPart& part) {
  Step step(part);
  step.sum_squares();
  step.set_factors_of_own_sums();
  step.set_scales(step.sum_of_rows() / static_cast<double>(part.rows));
  step.update(part.clip_threshold > 0 ? step.sum_of_updates() : 0.0);
}

void adafactor_squares(const AdafactorPart& part, double* sums) {
  Step step(part);
  step.sum_squares();
  step.write_sums(sums);
}

void adafactor_factors(const AdafactorPart& part, const double* sums, double* totals) {
  Step step(part);
  step.set_factors(sums, 1, sums + part.rows, 1);
  step.set_scales(1.0);
  totals[0] = step.sum_of_rows();
  totals[1] = part.clip_threshold > 0 ? step.sum_of_updates() : 0.0;
}

void adafactor_update(const AdafactorPart& part, const double* totals) {
  const double mean_row = totals[0] / static_cast<double>(part.whole_rows);
  Step step(part);
  step.set_scales(mean_row);
  step.update(totals[1] * mean_row);
}

}  // namespace lexel::kernels::cpu
#endif  // HWY_ONCE
