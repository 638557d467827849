// A block for each row of the result; each thread sums its values' taps, which neighbours read too and the first-level cache keeps.

#include "kernels/cuda/launch.h"
#include "kernels/cuda/upfirdn.h"

namespace lexel::kernels::cuda {
namespace {

constexpr unsigned kMaxThreads = 256;

__device__ float to_float(float value) { return value; }
__device__ float to_float(uint16_t value) { return __uint_as_float(unsigned{value} << 16); }

__device__ void store(float value, float* to) { *to = value; }
__device__ void store(float value, uint16_t* to) {
  const unsigned bits = __float_as_uint(value);
  const unsigned rounded = (bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16;  // nearest even
  *to = static_cast<uint16_t>(value == value ? rounded : 0x7FC0U);
}

/// The least tap, not below 0, that meets a pixel and not a zero between two: first + tap divisible by up.
__device__ int first_tap(int first, int up) {
  if (up == 1) return 0;
  const int rest = first % up;  // of the sign of `first`
  return rest > 0 ? up - rest : -rest;
}

template <class T>
__global__ void __launch_bounds__(kMaxThreads)
    upfirdn2d_kernel(const __grid_constant__ UpfirdnPart part, const T* x, T* result) {
  const auto channels = static_cast<unsigned>(part.channels);
  const unsigned values = static_cast<unsigned>(part.out_width) * channels;
  const auto up = static_cast<int>(part.up), down = static_cast<int>(part.down);
  const auto height = static_cast<int>(part.height), width = static_cast<int>(part.width);
  const auto filter_height = static_cast<int>(part.filter_height);
  const auto filter_width = static_cast<int>(part.filter_width);
  const int64_t image = blockIdx.x / part.out_height;
  const int first_y = static_cast<int>(blockIdx.x % part.out_height) * down -
                      static_cast<int>(part.top);  // among the rows with zeros between
  const int tap_y = first_tap(first_y, up);
  const T* const source = x + image * part.height * part.width * channels;
  T* const row = result + int64_t{blockIdx.x} * values;
  for (unsigned i = threadIdx.x; i < values; i += blockDim.x) {
    const unsigned pixel = i / channels, channel = i - pixel * channels;
    const int first_x = static_cast<int>(pixel) * down - static_cast<int>(part.left);
    const int tap_x = first_tap(first_x, up);
    const int begin_x = (first_x + tap_x) / up;
    int place_y = (first_y + tap_y) / up;
    float sum = 0.0F;
    for (int ky = tap_y; ky < filter_height; ky += up, ++place_y) {
      if (place_y < 0 || place_y >= height) continue;
      const T* const line = source + int64_t{place_y} * width * channels + channel;
      int place_x = begin_x;
#pragma unroll 4
      for (int kx = tap_x; kx < filter_width; kx += up, ++place_x) {
        if (place_x < 0 || place_x >= width) continue;
        sum = fmaf(part.filter[ky * filter_width + kx], to_float(line[int64_t{place_x} * channels]),
                   sum);
      }
    }
    store(sum, row + i);
  }
}

template <class T>
void launch_for(const UpfirdnPart& part, const T* x, T* result, Stream stream) {
  const int64_t rows = part.images * part.out_height, values = part.out_width * part.channels;
  if (rows == 0 || values == 0) return;
  // Places in a picture and its zeros are 32 bits.
  constexpr int64_t kLimit = int64_t{1} << 30;
  for (const int64_t size :
       {rows, values, part.height * part.up, part.width * part.up, part.out_height * part.down,
        part.out_width * part.down, part.left, -part.left, part.top, -part.top}) {
    check(size < kLimit, ErrorKind::kUnsupported,
          "upfirdn2d: expected rows, values a row, sides and padding below 2^30, got ", size);
  }
  const auto wanted = static_cast<unsigned>((values + 31) / 32 * 32);
  launch("upfirdn2d", upfirdn2d_kernel<T>,
         {dim3(static_cast<unsigned>(rows)), dim3(wanted < kMaxThreads ? wanted : kMaxThreads)},
         stream, part, x, result);
}

}  // namespace

void launch_upfirdn2d(const UpfirdnPart& part, const float* x, float* result, Stream stream) {
  launch_for(part, x, result, stream);
}

void launch_upfirdn2d(const UpfirdnPart& part, const uint16_t* x, uint16_t* result, Stream stream) {
  launch_for(part, x, result, stream);
}

}  // namespace lexel::kernels::cuda
