#pragma once

#include <cstdint>
#include <limits>

namespace lexel::kernels {

// How float32 becomes int8 with a scale: the one definition, constexpr, that CPU and CUDA code call, so that both hold the same
// numbers. Plain IEEE operations; compile CUDA code with precise division (nvcc's default).

/// The scale of values of which the largest size is `largest`: 0 for zeros, NaN when one is not finite (`largest` is then
/// infinity or NaN), so that all products with it are NaN.
constexpr float int8_scale(float largest) {
  return largest <= std::numeric_limits<float>::max() ? largest / 127.0F
                                                      : std::numeric_limits<float>::quiet_NaN();
}

/// value / scale, to nearest, ties to even, in -127..127; 0 where the scale is 0 or NaN.
constexpr int8_t to_int8(float value, float scale) {
  if (!(scale > 0.0F)) return 0;
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: the sum has no bits left for a fraction
  const float rounded = (value / scale + kShift) - kShift;
  // Past 127 only where the scale is so small that it lost bits.
  return static_cast<int8_t>(rounded > 127.0F ? 127.0F : rounded < -127.0F ? -127.0F : rounded);
}

}  // namespace lexel::kernels
