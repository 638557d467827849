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

template <class T>
__global__ void __launch_bounds__(kMaxThreads)
    upfirdn2d_kernel(const __grid_constant__ UpfirdnPart part, const T* x, T* result) {
  const int64_t image = blockIdx.x / part.out_height, y = blockIdx.x % part.out_height;
  const auto channels = static_cast<unsigned>(part.channels);
  const unsigned values = static_cast<unsigned>(part.out_width) * channels;
  const auto up = static_cast<int>(part.up), down = static_cast<int>(part.down);
  const auto kernel_height = static_cast<int>(part.filter_height);
  const auto kernel_width = static_cast<int>(part.filter_width);
  const T* const source = x + image * part.height * part.width * channels;
  T* const row = result + int64_t{blockIdx.x} * values;
  for (unsigned i = threadIdx.x; i < values; i += blockDim.x) {
    const unsigned pixel = i / channels, channel = i - pixel * channels;
    const int64_t first_x = int64_t{pixel} * down - part.left;
    float sum = 0.0F;
    for (int ky = 0; ky < kernel_height; ++ky) {
      const int64_t place_y = y * down + ky - part.top;  // among the rows with zeros between
      if (place_y < 0 || place_y % up != 0 || place_y / up >= part.height) continue;
      const T* const line = source + place_y / up * part.width * channels + channel;
      for (int kx = 0; kx < kernel_width; ++kx) {
        const int64_t place_x = first_x + kx;
        if (place_x < 0 || place_x % up != 0 || place_x / up >= part.width) continue;
        sum =
            fmaf(part.filter[ky * kernel_width + kx], to_float(line[place_x / up * channels]), sum);
      }
    }
    store(sum, row + i);
  }
}

template <class T>
void launch_for(const UpfirdnPart& part, const T* x, T* result, Stream stream) {
  const int64_t rows = part.images * part.out_height, values = part.out_width * part.channels;
  if (rows == 0 || values == 0) return;
  constexpr int64_t kLimit = int64_t{1} << 31;
  check(rows < kLimit && values < kLimit, ErrorKind::kUnsupported,
        "upfirdn2d: expected less than 2^31 rows and values a row, got ", rows, " and ", values);
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
