#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>

namespace lexel::eval {

/// A value and its gradient at a point.
struct ValueAndGradient {
  double value = 0.0;
  at::Tensor gradient;  // (n) float64
};
using Objective = std::function<ValueAndGradient(const at::Tensor& point)>;

struct LbfgsResult {
  at::Tensor point;  // (n) float64
  double value = 0.0;
  int64_t iterations = 0;
  bool converged =
      false;  // the gradient is small; else the iterations ran out, or no step went further down
};

/// Minimises a smooth function from `start` by L-BFGS with backtracking (Armijo). Deterministic.
///
/// start      (n) float64
/// tolerance  stops where the gradient's largest entry is at most so much
/// source     Nocedal and Wright 2006, "Numerical optimization", algorithms 7.4 and 7.5
LbfgsResult minimise(const Objective& objective, const at::Tensor& start, int64_t max_iterations,
                     double tolerance);

}  // namespace lexel::eval
