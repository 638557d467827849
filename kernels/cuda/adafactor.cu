// One Adafactor step: sums of squares by tiles, the factors, sums of the squared update by tiles, one number that clips it, and
// the update, by a warp for each 128 weights. Nothing waits for the host; all sums have a fixed order.

#include <cstddef>

#include "kernels/cuda/adafactor.h"
#include "kernels/cuda/block_sum.h"
#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;
constexpr int kRows = static_cast<int>(kAdafactorTileRows);
constexpr int kStrips = static_cast<int>(kAdafactorTileColumns) / kThreads;  // columns a thread

/// The part of the matrix that a block covers.
struct Tile {
  int64_t first_row, first_column;
  int rows;
};

__device__ Tile tile_of_block(const AdafactorPart& part, int64_t column_tiles) {
  const int64_t row = blockIdx.x / column_tiles * kRows;
  const int64_t column = blockIdx.x % column_tiles * kAdafactorTileColumns;
  return {row, column, static_cast<int>(part.rows - row < kRows ? part.rows - row : kRows)};
}

__global__ void __launch_bounds__(kThreads)
    sum_tiles_kernel(AdafactorPart part, AdafactorScratch scratch, int64_t column_tiles) {
  __shared__ float of_row[kRows][kWarps];
  const Tile tile = tile_of_block(part, column_tiles);
  const int64_t column = tile.first_column + threadIdx.x;
  float sums[kStrips] = {};
  for (int row = 0; row < tile.rows; ++row) {
    const float* const g = part.gradient + (tile.first_row + row) * part.columns;
    float sum = 0.0F;
#pragma unroll
    for (int k = 0; k < kStrips; ++k) {
      const int64_t c = column + k * kThreads;
      const float value = c < part.columns ? g[c] : 0.0F;
      sums[k] = fmaf(value, value, sums[k]);
      sum = fmaf(value, value, sum);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    if (threadIdx.x % 32 == 0) of_row[row][threadIdx.x / 32] = sum;
  }
  const int64_t row_tile = blockIdx.x / column_tiles;
#pragma unroll
  for (int k = 0; k < kStrips; ++k) {
    const int64_t c = column + k * kThreads;
    if (c < part.columns) scratch.column_sums[row_tile * part.columns + c] = sums[k];
  }
  __syncthreads();
  for (int row = static_cast<int>(threadIdx.x); row < tile.rows; row += kThreads) {
    float sum = 0.0F;
    for (int warp = 0; warp < kWarps; ++warp) sum += of_row[row][warp];
    scratch.row_sums[blockIdx.x % column_tiles * part.rows + tile.first_row + row] = sum;
  }
}

/// What all tiles found for row i, or column i - R.
__device__ double sum_of_tiles(const AdafactorPart& part, const AdafactorScratch& scratch,
                               int64_t row_tiles, int64_t column_tiles, int64_t i) {
  const bool is_row = i < part.rows;
  const int64_t place = is_row ? i : i - part.rows;
  const int64_t size = is_row ? part.rows : part.columns;
  const float* const sums = is_row ? scratch.row_sums : scratch.column_sums;
  const int64_t num_sums = is_row ? column_tiles : row_tiles;
  double sum = 0.0;
  for (int64_t s = 0; s < num_sums; ++s) sum += static_cast<double>(sums[s * size + place]);
  return sum;
}

/// What the update multiplies by, from the factor of row i, or column i - R.
__device__ void set_scale(const AdafactorPart& part, const AdafactorScratch& scratch, int64_t i) {
  const bool is_row = i < part.rows;
  const int64_t place = is_row ? i : i - part.rows;
  const float factor = (is_row ? part.row_factor : part.column_factor)[place];
  (is_row ? scratch.row_scale : scratch.column_scale)[place] =
      static_cast<float>(1.0 / sqrt(static_cast<double>(factor)));
}

/// The new running mean, and the scale.
__device__ void set_factor(const AdafactorPart& part, const AdafactorScratch& scratch, int64_t i,
                           double sum) {
  const bool is_row = i < part.rows;
  const int64_t place = is_row ? i : i - part.rows;
  const double scale = static_cast<double>(part.gradient_scale);
  const auto terms = static_cast<double>(is_row ? part.whole_columns : part.whole_rows);
  const double mean = sum * scale * scale / terms + part.epsilon;
  float* const factor = (is_row ? part.row_factor : part.column_factor) + place;
  *factor =
      static_cast<float>(part.beta2 * static_cast<double>(*factor) + (1.0 - part.beta2) * mean);
  set_scale(part, scratch, i);
}

// Thread i of these: row i, or column i - R.

__global__ void __launch_bounds__(kThreads)
    factors_kernel(AdafactorPart part, AdafactorScratch scratch, int64_t row_tiles,
                   int64_t column_tiles) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= part.rows + part.columns) return;
  set_factor(part, scratch, i, sum_of_tiles(part, scratch, row_tiles, column_tiles, i));
}

__global__ void __launch_bounds__(kThreads)
    squares_kernel(AdafactorPart part, AdafactorScratch scratch, int64_t row_tiles,
                   int64_t column_tiles, double* sums) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < part.rows + part.columns)
    sums[i] = sum_of_tiles(part, scratch, row_tiles, column_tiles, i);
}

__global__ void __launch_bounds__(kThreads)
    factors_of_sums_kernel(AdafactorPart part, AdafactorScratch scratch, const double* sums) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < part.rows + part.columns) set_factor(part, scratch, i, sums[i]);
}

__global__ void __launch_bounds__(kThreads)
    scales_kernel(AdafactorPart part, AdafactorScratch scratch) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < part.rows + part.columns) set_scale(part, scratch, i);
}

__global__ void __launch_bounds__(kThreads)
    sum_updates_kernel(AdafactorPart part, AdafactorScratch scratch, int64_t column_tiles) {
  const Tile tile = tile_of_block(part, column_tiles);
  const int64_t column = tile.first_column + threadIdx.x;
  float scales[kStrips];
#pragma unroll
  for (int k = 0; k < kStrips; ++k) {
    const int64_t c = column + k * kThreads;
    scales[k] = c < part.columns ? scratch.column_scale[c] : 0.0F;
  }
  double total = 0.0;
  for (int row = 0; row < tile.rows; ++row) {
    const float* const g = part.gradient + (tile.first_row + row) * part.columns;
    const float row_scale = scratch.row_scale[tile.first_row + row];
    float sum = 0.0F;
#pragma unroll
    for (int k = 0; k < kStrips; ++k) {
      const int64_t c = column + k * kThreads;
      const float u = (c < part.columns ? g[c] : 0.0F) * row_scale * scales[k];
      sum = fmaf(u, u, sum);
    }
    total += static_cast<double>(sum);
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) scratch.update_sums[blockIdx.x] = total;
}

/// The sums of the row factor and of the squared update, u / sqrt(mean(row)), by one block: both on thread 0.
__device__ void add_totals(const AdafactorPart& part, const AdafactorScratch& scratch,
                           int64_t tiles, double* rows, double* squares) {
  *rows = *squares = 0.0;
  for (int64_t i = threadIdx.x; i < part.rows; i += kThreads) {
    *rows += static_cast<double>(part.row_factor[i]);
  }
  *rows = block_sum<kThreads>(*rows);
  if (part.clip_threshold > 0.0) {
    for (int64_t i = threadIdx.x; i < tiles; i += kThreads) *squares += scratch.update_sums[i];
    const double scale = static_cast<double>(part.gradient_scale);
    *squares = block_sum<kThreads>(*squares) * scale * scale;
  }
}

/// u = gradient_scale sqrt(mean(row)) g row_scale column_scale, over max(1, rms(u) / clip_threshold). `squares` has gradient_scale in it.
/// One thread.
__device__ void set_update_scale(const AdafactorPart& part, const AdafactorScratch& scratch,
                                 double rows, double squares) {
  const auto num_rows = static_cast<double>(part.whole_rows);
  const double mean = rows / num_rows;
  const double scale = static_cast<double>(part.gradient_scale) * sqrt(mean);
  double excess = 1.0;
  if (part.clip_threshold > 0.0) {
    const double numel = num_rows * static_cast<double>(part.whole_columns);
    excess = sqrt(mean * (squares / numel)) / part.clip_threshold;
    if (excess <= 1.0) excess = 1.0;  // NaN stays
  }
  *scratch.update_scale =
      static_cast<float>(static_cast<double>(part.one_minus_beta1) * scale / excess);
}

__global__ void __launch_bounds__(kThreads)
    clip_kernel(AdafactorPart part, AdafactorScratch scratch, int64_t tiles) {
  double rows, squares;
  add_totals(part, scratch, tiles, &rows, &squares);
  if (threadIdx.x == 0) set_update_scale(part, scratch, rows, squares);
}

/// The same in two stages: what is here, and what is in all parts.
__global__ void __launch_bounds__(kThreads)
    totals_kernel(AdafactorPart part, AdafactorScratch scratch, int64_t tiles, double* totals) {
  double rows, squares;
  add_totals(part, scratch, tiles, &rows, &squares);
  if (threadIdx.x > 0) return;
  totals[0] = rows;
  totals[1] = squares;
}

__global__ void __launch_bounds__(kThreads)
    clip_of_totals_kernel(AdafactorPart part, AdafactorScratch scratch, const double* totals) {
  if (threadIdx.x == 0) set_update_scale(part, scratch, totals[0], totals[1]);
}

/// Four consecutive values, by one access where `whole`, else those before `count`.
__device__ void load4(const float* from, bool whole, int count, float (&to)[4]) {
  if (whole) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = i < count ? from[i] : 0.0F;
}

__device__ void store4(const float (&from)[4], bool whole, int count, float* to) {
  if (whole) {
    *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) to[i] = from[i];
  }
}

__device__ bool is_aligned(const void* pointer) {
  return reinterpret_cast<size_t>(pointer) % sizeof(float4) == 0;
}

/// A warp for each 128 weights, four a lane.
__global__ void __launch_bounds__(kThreads)
    update_kernel(AdafactorPart part, AdafactorScratch scratch, int64_t blocks) {
  const int64_t block = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (block >= blocks) return;  // the whole warp
  const int64_t numel = part.rows * part.columns;
  const int64_t begin = block * kAdafactorBlock + threadIdx.x % 32 * 4;
  const int64_t left = numel - begin;
  const int count = left <= 0 ? 0 : left < 4 ? static_cast<int>(left) : 4;
  const bool whole = count == 4 && is_aligned(part.weights) && is_aligned(part.gradient) &&
                     is_aligned(part.first_moment);
  float g[4], w[4], m[4];
  load4(part.gradient + begin, whole, count, g);
  load4(part.weights + begin, whole, count, w);
  if (part.first_moment != nullptr) {
    load4(part.first_moment + begin, whole, count, m);
  } else {
    const float scale = part.first_scales[block];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      m[i] = i < count ? static_cast<float>(part.first_moment_int8[begin + i]) * scale : 0.0F;
    }
  }

  const float update_scale = *scratch.update_scale;
  int64_t row = begin / part.columns, column = begin % part.columns;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i >= count) break;
    const float u = g[i] * scratch.row_scale[row] * scratch.column_scale[column];
    m[i] = fmaf(part.beta1, m[i], update_scale * u);
    w[i] = fmaf(-part.rate, m[i], part.keep * w[i]);
    if (++column == part.columns) {
      column = 0;
      ++row;
    }
  }
  store4(w, whole, count, part.weights + begin);
  if (part.first_moment != nullptr) {
    store4(m, whole, count, part.first_moment + begin);
    return;
  }
  float largest = fmaxf(fmaxf(fabsf(m[0]), fabsf(m[1])), fmaxf(fabsf(m[2]), fabsf(m[3])));
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, lanes));
  }
  const float inverse = largest > 0.0F ? 127.0F / largest : 0.0F;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float value = rintf(m[i] * inverse);
    if (i < count) {
      part.first_moment_int8[begin + i] = static_cast<int8_t>(value == value ? value : 0.0F);
    }
  }
  // A gradient that is not finite spoils every u.
  if (threadIdx.x % 32 == 0) part.first_scales[block] = largest / 127.0F + 0.0F * m[0];
}

}  // namespace

namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
LaunchShape grid(int64_t blocks) {
  return LaunchShape{dim3(static_cast<unsigned>(blocks)), dim3(kThreads)};
}
int64_t row_tiles_of(const AdafactorPart& part) { return divide_up(part.rows, kAdafactorTileRows); }
int64_t column_tiles_of(const AdafactorPart& part) {
  return divide_up(part.columns, kAdafactorTileColumns);
}
LaunchShape grid_of_factors(const AdafactorPart& part) {
  return grid(divide_up(part.rows + part.columns, kThreads));
}

void sum_tiles(const AdafactorPart& part, const AdafactorScratch& scratch, Stream stream) {
  launch("adafactor_sum_tiles", sum_tiles_kernel, grid(row_tiles_of(part) * column_tiles_of(part)),
         stream, part, scratch, column_tiles_of(part));
}

void sum_updates(const AdafactorPart& part, const AdafactorScratch& scratch, Stream stream) {
  if (part.clip_threshold > 0.0) {
    launch("adafactor_sum_updates", sum_updates_kernel,
           grid(row_tiles_of(part) * column_tiles_of(part)), stream, part, scratch,
           column_tiles_of(part));
  }
}

void update(const AdafactorPart& part, const AdafactorScratch& scratch, Stream stream) {
  const int64_t blocks = divide_up(part.rows * part.columns, kAdafactorBlock);
  launch("adafactor_update", update_kernel, grid(divide_up(blocks, kWarps)), stream, part, scratch,
         blocks);
}

}  // namespace

void launch_adafactor(const AdafactorPart& part, const AdafactorScratch& scratch, Stream stream) {
  if (part.rows == 0 || part.columns == 0) return;
  sum_tiles(part, scratch, stream);
  launch("adafactor_factors", factors_kernel, grid_of_factors(part), stream, part, scratch,
         row_tiles_of(part), column_tiles_of(part));
  sum_updates(part, scratch, stream);
  launch("adafactor_clip", clip_kernel, grid(1), stream, part, scratch,
         row_tiles_of(part) * column_tiles_of(part));
  update(part, scratch, stream);
}

void launch_adafactor_squares(const AdafactorPart& part, const AdafactorScratch& scratch,
                              double* sums, Stream stream) {
  if (part.rows == 0 || part.columns == 0) return;
  sum_tiles(part, scratch, stream);
  launch("adafactor_squares", squares_kernel, grid_of_factors(part), stream, part, scratch,
         row_tiles_of(part), column_tiles_of(part), sums);
}

void launch_adafactor_factors(const AdafactorPart& part, const AdafactorScratch& scratch,
                              const double* sums, double* totals, Stream stream) {
  if (part.rows == 0 || part.columns == 0) return;
  launch("adafactor_factors_of_sums", factors_of_sums_kernel, grid_of_factors(part), stream, part,
         scratch, sums);
  sum_updates(part, scratch, stream);
  launch("adafactor_totals", totals_kernel, grid(1), stream, part, scratch,
         row_tiles_of(part) * column_tiles_of(part), totals);
}

void launch_adafactor_update(const AdafactorPart& part, const AdafactorScratch& scratch,
                             const double* totals, Stream stream) {
  if (part.rows == 0 || part.columns == 0) return;
  launch("adafactor_scales", scales_kernel, grid_of_factors(part), stream, part, scratch);
  launch("adafactor_clip_of_totals", clip_of_totals_kernel, grid(1), stream, part, scratch, totals);
  update(part, scratch, stream);
}

}  // namespace lexel::kernels::cuda
