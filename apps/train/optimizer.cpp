#include "apps/train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <cmath>

#include "kernels/adamw.h"
#include "kernels/check.h"

namespace lexel::train {

Optimizer::Optimizer(const ParameterList& parameters, const OptimizerOptions& options)
    : options_(options) {
  const at::NoGradGuard no_grad;
  for (const Parameter& p : parameters) {
    if (!p.trained) continue;
    const at::Tensor weights = *p.tensor;  // shares storage with the model
    slots_.push_back({p.name, p.group, p.decay, weights, at::zeros_like(weights),
                      at::zeros_like(weights),
                      options.average > 0 ? weights.detach().clone() : at::Tensor()});
  }
}

void Optimizer::zero_gradients() {
  for (const Slot& slot : slots_) slot.weights.mutable_grad() = at::Tensor();
}

void Optimizer::select_trained(const std::map<std::string, double>& factors) {
  for (const Slot& slot : slots_) {
    const auto factor = factors.find(slot.group);
    slot.weights.set_requires_grad(factor == factors.end() || factor->second > 0);
  }
}

double Optimizer::gradient_norm() const {
  std::vector<at::Tensor> norms;
  std::vector<const Slot*> with_gradient;
  for (const Slot& slot : slots_) {
    if (!slot.weights.grad().defined()) continue;
    norms.push_back(at::linalg_vector_norm(slot.weights.grad()));
    with_gradient.push_back(&slot);
  }
  if (norms.empty()) return 0.0;
  const at::Tensor values = at::stack(norms).to(at::kDouble).cpu();  // one wait for the device
  for (size_t i = 0; i < with_gradient.size(); ++i) {
    check(std::isfinite(values.const_data_ptr<double>()[i]), ErrorKind::kBadData,
          "the gradient of ", with_gradient[i]->name, " is not finite");
  }
  return at::linalg_vector_norm(values).item<double>();
}

double Optimizer::step(double rate, const std::map<std::string, double>& factors) {
  const at::NoGradGuard no_grad;
  const double norm = gradient_norm();

  ++steps_;
  kernels::AdamWOptions adamw{.beta1 = options_.beta1,
                              .beta2 = options_.beta2,
                              .epsilon = options_.epsilon,
                              .step = steps_};
  if (options_.clip_norm > 0 && norm > options_.clip_norm) {
    adamw.gradient_scale = options_.clip_norm / norm;
  }
  const double decay = std::min(options_.average,
                                double(1 + steps_) / double(10 + steps_));  // follows fast at first
  std::vector<kernels::AdamWUpdate> updates;
  for (const Slot& slot : slots_) {
    const auto factor = factors.find(slot.group);
    adamw.learning_rate = rate * (factor == factors.end() ? 1.0 : factor->second);
    adamw.weight_decay = slot.decay ? options_.weight_decay : 0.0;
    const at::Tensor& gradient = slot.weights.grad();
    if (gradient.defined() && adamw.learning_rate > 0) {
      updates.push_back(
          {slot.weights.detach(), gradient.contiguous(), slot.first, slot.second, adamw});
    }
  }
  kernels::adamw_(updates);
  for (const Slot& slot : slots_) {
    if (slot.average.defined()) slot.average.lerp_(slot.weights.detach(), 1.0 - decay);
  }
  return norm;
}

std::map<std::string, at::Tensor> Optimizer::state() const {
  std::map<std::string, at::Tensor> state;
  for (const Slot& slot : slots_) {
    state["first/" + slot.name] = slot.first;
    state["second/" + slot.name] = slot.second;
    if (slot.average.defined()) state["average/" + slot.name] = slot.average;
  }
  return state;
}

void Optimizer::reset_averages() {
  const at::NoGradGuard no_grad;
  for (const Slot& slot : slots_) {
    if (slot.average.defined()) slot.average.copy_(slot.weights.detach());
  }
}

void Optimizer::swap_averages() {
  const at::NoGradGuard no_grad;
  for (const Slot& slot : slots_) {
    if (!slot.average.defined()) continue;
    const at::Tensor weights = slot.weights.detach();
    const at::Tensor kept = weights.clone();
    weights.copy_(slot.average);
    slot.average.copy_(kept);
  }
}

}  // namespace lexel::train
