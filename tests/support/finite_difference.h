#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <cstdint>
#include <functional>

#include "tests/support/random_tensor.h"

namespace lexel::tests {

using ScalarFunction = std::function<at::Tensor(const at::Tensor&)>;

/// The gradient of `function` (a 0-d result) at x, by central differences.
///
/// x        float64, contiguous, small: the function runs twice for each element
inline at::Tensor numerical_gradient(const ScalarFunction& function, const at::Tensor& x,
                                     double step = 1e-5) {
  at::Tensor point = x.detach().clone();
  at::Tensor gradient = at::empty_like(point);
  double* values = point.data_ptr<double>();
  double* slopes = gradient.data_ptr<double>();
  const auto value_at = [&](int64_t i, double value) {
    values[i] = value;
    // A fresh leaf, for functions that differentiate inside (R1).
    return function(point.clone().requires_grad_()).item<double>();
  };
  for (int64_t i = 0; i < point.numel(); ++i) {
    const double middle = values[i];
    slopes[i] = (value_at(i, middle + step) - value_at(i, middle - step)) / (2 * step);
    values[i] = middle;
  }
  return gradient;
}

/// Largest difference between autograd's gradient and the numerical one, relative to the largest slope.
inline double gradient_error(const ScalarFunction& function, const at::Tensor& x) {
  const at::Tensor leaf = x.detach().clone().requires_grad_();
  function(leaf).backward();
  return relative_difference(leaf.grad(), numerical_gradient(function, x));
}

}  // namespace lexel::tests
