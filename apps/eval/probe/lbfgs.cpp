#include "apps/eval/probe/lbfgs.h"

#include <ATen/TensorOperators.h>
#include <algorithm>
#include <deque>
#include <vector>

namespace lexel::eval {
namespace {

constexpr size_t kMemory = 10;      // pairs
constexpr int kMaxHalvings = 30;    // of a step
constexpr double kDecrease = 1e-4;  // of the Armijo condition

struct Pair {
  at::Tensor step, change;  // of the point, of the gradient
  double curvature = 0.0;   // step . change > 0
};

double dot(const at::Tensor& a, const at::Tensor& b) { return a.dot(b).item<double>(); }

/// -H g by the two loops.
at::Tensor direction(const at::Tensor& gradient, const std::deque<Pair>& pairs) {
  at::Tensor q = gradient.neg();
  std::vector<double> alphas(pairs.size());
  for (size_t i = pairs.size(); i-- > 0;) {
    alphas[i] = dot(pairs[i].step, q) / pairs[i].curvature;
    q.sub_(pairs[i].change, alphas[i]);
  }
  if (!pairs.empty()) {
    const Pair& last = pairs.back();
    q.mul_(last.curvature / dot(last.change, last.change));
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    const double beta = dot(pairs[i].change, q) / pairs[i].curvature;
    q.add_(pairs[i].step, alphas[i] - beta);
  }
  return q;
}

}  // namespace

LbfgsResult minimise(const Objective& objective, const at::Tensor& start, int64_t max_iterations,
                     double tolerance) {
  LbfgsResult result;
  result.point = start.clone();
  ValueAndGradient here = objective(result.point);
  std::deque<Pair> pairs;
  for (; result.iterations < max_iterations; ++result.iterations) {
    const double largest = here.gradient.abs().max().item<double>();
    result.converged = largest <= tolerance;
    if (result.converged) break;
    at::Tensor way = direction(here.gradient, pairs);
    double slope = dot(way, here.gradient);
    if (!(slope < 0.0)) {  // rounding spoilt the pairs
      pairs.clear();
      way = here.gradient.neg();
      slope = dot(way, here.gradient);
    }
    // The first step has no curvature to go by.
    double length = pairs.empty() ? std::min(1.0, 1.0 / largest) : 1.0;
    at::Tensor there;
    ValueAndGradient next;
    bool lower = false;
    for (int halving = 0; halving < kMaxHalvings && !lower; ++halving, length *= 0.5) {
      there = result.point + way * length;
      next = objective(there);
      lower = next.value <= here.value + kDecrease * length * slope;
    }
    if (!lower) break;
    Pair pair{there - result.point, next.gradient - here.gradient, 0.0};
    pair.curvature = dot(pair.step, pair.change);
    if (pair.curvature > 1e-12 * dot(pair.step, pair.step)) {
      pairs.push_back(std::move(pair));
      if (pairs.size() > kMemory) pairs.pop_front();
    }
    result.point = there;
    here = std::move(next);
  }
  result.value = here.value;
  return result;
}

}  // namespace lexel::eval
