#pragma once

#include <ATen/ops/empty.h>
#include <cmath>
#include <cstdint>

#include "kernels/philox.h"

namespace lexel::tests {

/// (count, 3, size, size) with the hard parts of real pictures: shading, an edge at any angle, fine texture, three colours.
inline at::Tensor hard_pictures(int64_t count, int64_t size) {
  const auto pictures = at::empty({count, 3, size, size}, at::kFloat);
  for (int64_t k = 0; k < count; ++k) {
    Philox random(3, "pictures", static_cast<uint64_t>(k));
    const double angle_rad = 6.3 * random.uniform(), offset = random.uniform() - 0.5;
    float* pixel = pictures[k].data_ptr<float>();
    for (int channel = 0; channel < 3; ++channel) {
      const double low = random.uniform(), high = random.uniform(), shade = random.uniform() - 0.5;
      for (int64_t y = 0; y < size; ++y) {
        for (int64_t x = 0; x < size; ++x) {
          const double u = static_cast<double>(x) / static_cast<double>(size) - 0.5;
          const double v = static_cast<double>(y) / static_cast<double>(size) - 0.5;
          const bool side = u * std::cos(angle_rad) + v * std::sin(angle_rad) > offset / 2;
          *pixel++ = static_cast<float>((side ? low : high) + shade * u + 0.05 * random.uniform());
        }
      }
    }
  }
  return pictures.clamp_(0, 1);
}

/// Decibels, of a clamped to [0, 1] against b.
inline double psnr(const at::Tensor& a, const at::Tensor& b) {
  return -10 * std::log10((a.clamp(0, 1) - b).square().mean().item<double>());
}

}  // namespace lexel::tests
