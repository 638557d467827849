#include "apps/eval/probe/linear_probe.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "apps/eval/probe/lbfgs.h"
#include "kernels/check.h"

namespace lexel::eval {
namespace {

constexpr int64_t kIterations = 200;
constexpr double kTolerance = 1e-5;

at::Tensor standardised(const LinearProbe& probe, const at::Tensor& dense) {
  return probe.mean.defined() ? (dense - probe.mean) * probe.inverse_std : dense;
}

/// x weight, of inputs that are standardised already.
at::Tensor product(const ProbeInputs& x, const at::Tensor& weight) {
  return x.dense.defined() ? at::matmul(x.dense, weight) : at::embedding(weight, x.ones).sum(1);
}

/// x^T grad: (F, C)
at::Tensor transposed_product(const ProbeInputs& x, const at::Tensor& grad) {
  if (x.dense.defined()) return at::matmul(x.dense.t(), grad);
  const int64_t each = x.ones.size(1), classes = grad.size(1);
  const auto rows = grad.unsqueeze(1).expand({-1, each, -1}).reshape({-1, classes});
  return at::zeros({x.width, classes}, grad.options()).index_add_(0, x.ones.flatten(), rows);
}

}  // namespace

ProbeInputs ProbeInputs::narrow(int64_t first, int64_t number) const {
  return {dense.defined() ? dense.narrow(0, first, number) : dense,
          ones.defined() ? ones.narrow(0, first, number) : ones, width};
}

LinearProbe fit_probe(const ProbeInputs& inputs, const at::Tensor& labels, int64_t classes,
                      double decay) {
  const at::NoGradGuard no_grad;
  const int64_t count = inputs.count(), width = inputs.width;
  check_arg(count >= 1, "fit_probe", "expected at least one picture, got none");
  check_arg(labels.dim() == 1 && labels.size(0) == count && classes >= 1, "fit_probe",
            "expected one label a picture, got ", labels.sizes(), " for ", count);
  check_arg(!inputs.dense.defined() || inputs.dense.size(1) == width, "fit_probe", "expected ",
            width, " inputs, got ", inputs.dense.defined() ? inputs.dense.size(1) : 0);
  LinearProbe probe;
  ProbeInputs x = inputs;
  if (x.dense.defined()) {
    probe.mean = x.dense.mean(0);
    const auto std = (x.dense - probe.mean).square().mean(0).sqrt();            // (F)
    probe.inverse_std = at::where(std > 1e-6, 1.0 / std, at::zeros_like(std));  // constant: unused
    x.dense = standardised(probe, x.dense);
  }
  const auto unflatten = [&](const at::Tensor& point) {
    const auto single = point.to(at::kFloat);
    return std::pair(single.narrow(0, 0, width * classes).reshape({width, classes}),
                     single.narrow(0, width * classes, classes));
  };
  const auto objective = [&](const at::Tensor& point) {
    const auto [weight, bias] = unflatten(point);
    const auto log_p = at::log_softmax(product(x, weight) + bias, 1);  // (B, C)
    const double loss = -log_p.gather(1, labels.unsqueeze(1)).mean(at::kDouble).item<double>();
    at::Tensor grad = log_p.exp();
    grad.scatter_add_(1, labels.unsqueeze(1), at::full({count, 1}, -1.0, grad.options()));
    grad.div_(static_cast<double>(count));
    const auto wide_weight = point.narrow(0, 0, width * classes);
    return ValueAndGradient{
        loss + 0.5 * decay * wide_weight.square().sum().item<double>(),
        at::cat({transposed_product(x, grad).flatten().to(at::kDouble).add(wide_weight, decay),
                 grad.sum(0).to(at::kDouble)})};
  };
  const LbfgsResult found = minimise(objective, at::zeros({width * classes + classes}, at::kDouble),
                                     kIterations, kTolerance);
  std::tie(probe.weight, probe.bias) = unflatten(found.point);
  return probe;
}

at::Tensor predict(const LinearProbe& probe, const ProbeInputs& inputs) {
  const at::NoGradGuard no_grad;
  ProbeInputs x = inputs;
  if (x.dense.defined()) x.dense = standardised(probe, x.dense);
  return (product(x, probe.weight) + probe.bias).argmax(1);
}

ChosenProbe choose_probe(const ProbeInputs& inputs, const at::Tensor& labels, int64_t classes) {
  const int64_t count = inputs.count(), last = std::max<int64_t>(1, count / 10);
  check_arg(count >= 2, "choose_probe", "expected at least two pictures, got ", count);
  const int64_t first = count - last;
  double best = -1.0, decay = 0.0;
  for (const double candidate : {1e-5, 1e-4, 1e-3, 1e-2, 1e-1}) {
    const LinearProbe probe =
        fit_probe(inputs.narrow(0, first), labels.narrow(0, 0, first), classes, candidate);
    const double right = predict(probe, inputs.narrow(first, last))
                             .eq(labels.narrow(0, first, last))
                             .to(at::kDouble)
                             .mean()
                             .item<double>();
    if (right > best) best = right, decay = candidate;
  }
  return {fit_probe(inputs, labels, classes, decay), decay};
}

}  // namespace lexel::eval
