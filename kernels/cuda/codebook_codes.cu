// What the look-up makes of the codes before it meets the rows: a bias each, and float16 tiles for tensor cores.

#include "kernels/cuda/codebook_lookup.h"
#include "kernels/cuda/codebook_score.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/mma.h"

namespace lexel::kernels::cuda {
namespace {

constexpr int kThreads = 256;

/// Raises a maximum that many threads raise; most of them need not.
__device__ __forceinline__ void raise(unsigned* largest, float value) {
  const unsigned bits = __float_as_uint(value);
  if (bits > __ldcg(largest)) atomicMax(largest, bits);
}

/// 0 (dot product) or -|c|^2 / 2 (L2); -inf for a code that is hidden or not finite, so that its score is -inf or NaN and
/// never greater than another. One warp a code.
__global__ void __launch_bounds__(kThreads)
    code_bias(CodebookLookupArguments a, CodeExtent* extents) {
  const int64_t code = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp;
  if (code >= a.num_books * a.num_codes) return;
  double squares = 0.0;
  float largest = 0.0F;
  for (int64_t d = threadIdx.x % kWarp; d < a.width; d += kWarp) {
    const float value = a.codes[code * a.width + d];
    squares += static_cast<double>(value) * value;
    largest = fmaxf(largest, fabsf(value));
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    squares += __shfl_xor_sync(0xFFFFFFFFU, squares, offset);
    largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, offset));
  }
  if (threadIdx.x % kWarp != 0) return;
  const int64_t book = code / a.num_codes;
  const auto place = static_cast<int>(code % a.num_codes);
  const bool hidden =
      (a.allowed != nullptr && !a.allowed[book * a.allowed_step + place]) || !isfinite(squares);
  a.bias[code] = hidden ? -INFINITY : a.l2 ? static_cast<float>(-0.5 * squares) : 0.0F;
  if (hidden || extents == nullptr) return;
  raise(&extents[book].largest_value, largest);
  const int lowest = kNoCode - place;
  if (lowest > __ldcg(&extents[book].substitute)) atomicMax(&extents[book].substitute, lowest);
}

constexpr int kLanesPerCode = 8;

/// Eight lanes make one code's place in the tiles, eight widths (16 bytes) at a time.
__global__ void __launch_bounds__(kThreads)
    pack_codes(CodebookLookupArguments a, CodebookTensorScratch t) {
  const int64_t places = t.shape.num_tiles * CodeTiles::kCodes;
  const int64_t number = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kLanesPerCode;
  const int64_t book = number / places, place = number % places;  // whole blocks: 32 codes
  CodeExtent* const extent = t.extents + book;
  const int substitute = extent->substitute == 0 ? -1 : kNoCode - extent->substitute;
  const bool own = place < a.num_codes && a.bias[book * a.num_codes + place] != -INFINITY;
  const int64_t code = own ? place : substitute;
  const float scale = power_of_two_scale(__uint_as_float(extent->largest_value));
  const float* const from = a.codes + (book * a.num_codes + code) * a.width;
  const int lane = static_cast<int>(threadIdx.x) % kLanesPerCode;
  const int chunk_width = t.shape.chunk_width;
  uint16_t* const tile =
      t.tiles + book * t.shape.halves() +
      place / CodeTiles::kCodes * CodeTiles::kCodes * chunk_width * t.shape.num_chunks;
  const int64_t n = place % CodeTiles::kCodes;
  float norm = 0.0F, residual = 0.0F;
  for (int octet = lane; octet < chunk_width * t.shape.num_chunks / 8; octet += kLanesPerCode) {
    const int d = octet * 8;
    float values[8];
    for (int i = 0; i < 8; ++i) {
      values[i] = code >= 0 && d + i < a.width ? from[d + i] * scale : 0.0F;
    }
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      packed[i] = ptx::pack_half(values[2 * i], values[2 * i + 1]);
      add_residual(values[2 * i], ptx::half_value(packed[i], 0), norm, residual);
      add_residual(values[2 * i + 1], ptx::half_value(packed[i], 1), norm, residual);
    }
    uint16_t* const to = tile + d / chunk_width * (CodeTiles::kCodes * chunk_width) +
                         n / 8 * (8 * chunk_width) + d % chunk_width * 8 + n % 8 * 8;
    *reinterpret_cast<uint4*>(to) = make_uint4(packed[0], packed[1], packed[2], packed[3]);
  }
  for (int offset = kLanesPerCode / 2; offset > 0; offset /= 2) {
    norm += __shfl_xor_sync(0xFFFFFFFFU, norm, offset);
    residual += __shfl_xor_sync(0xFFFFFFFFU, residual, offset);
  }
  if (lane != 0) return;
  const float bias = code >= 0 ? a.bias[book * a.num_codes + code] * scale : 0.0F;
  t.tile_bias[book * places + place] = bias;
  if (!own) return;
  raise(&extent->largest_norm, sqrtf(norm));
  raise(&extent->largest_residual, sqrtf(residual));
  raise(&extent->largest_bias, fabsf(bias));
}

unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

}  // namespace

void launch_code_bias(const CodebookLookupArguments& arguments, CodeExtent* extents,
                      Stream stream) {
  launch("code_bias", code_bias,
         {blocks_for(arguments.num_books * arguments.num_codes * kWarp), kThreads}, stream,
         arguments, extents);
}

void launch_pack_codes(const CodebookLookupArguments& arguments,
                       const CodebookTensorScratch& scratch, Stream stream) {
  const int64_t places = arguments.num_books * scratch.shape.num_tiles * CodeTiles::kCodes;
  launch("pack_codes", pack_codes, {blocks_for(places * kLanesPerCode), kThreads}, stream,
         arguments, scratch);
}

}  // namespace lexel::kernels::cuda
