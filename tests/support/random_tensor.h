#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/philox.h"

namespace lexel::tests {

/// Added to every seed below; 0 but where a run asks for fresh inputs (gpu.h).
inline uint64_t fresh_seed = 0;

/// Standard normal values, float32 on the CPU, the same on every machine for a seed.
inline at::Tensor random_tensor(uint64_t seed, const std::vector<int64_t>& shape) {
  at::Tensor result = at::empty(shape, at::kFloat);
  Philox random(seed + fresh_seed, "random_tensor");
  float* values = result.data_ptr<float>();
  std::generate_n(values, result.numel(), [&] { return static_cast<float>(random.normal()); });
  return result;
}

/// Values uniform in [0, 1): a stand-in for pictures.
inline at::Tensor random_uniform(uint64_t seed, const std::vector<int64_t>& shape) {
  at::Tensor result = at::empty(shape, at::kFloat);
  Philox random(seed + fresh_seed, "random_uniform");
  float* values = result.data_ptr<float>();
  std::generate_n(values, result.numel(),
                  [&] { return static_cast<float>(random.next_u32() >> 8) * 0x1p-24F; });
  return result;
}

/// Integers in 0 .. limit-1, int64.
inline at::Tensor random_ids(uint64_t seed, const std::vector<int64_t>& shape, int64_t limit) {
  at::Tensor result = at::empty(shape, at::kLong);
  Philox random(seed + fresh_seed, "random_ids");
  int64_t* values = result.data_ptr<int64_t>();
  std::generate_n(values, result.numel(), [&] {
    return static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(limit)));
  });
  return result;
}

/// max |a - b| / max |b| in float64; infinity where the shapes differ or a value is not finite.
inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return INFINITY;
  if (b.numel() == 0) return 0.0;
  const at::Tensor wanted = b.detach().cpu().to(at::kDouble);
  const double difference = a.detach().cpu().to(at::kDouble).sub(wanted).abs().max().item<double>();
  const double scale = std::max(wanted.abs().max().item<double>(), 1e-300);
  const double relative = difference / scale;
  return std::isfinite(relative) ? relative : INFINITY;
}

}  // namespace lexel::tests
