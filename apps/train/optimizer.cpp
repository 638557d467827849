#include "apps/train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/adamw.h"
#include "kernels/check.h"

namespace lexel::train {

namespace {

double factor_of(const std::map<std::string, double>& factors, const std::string& group) {
  const auto factor = factors.find(group);
  return factor == factors.end() ? 1.0 : factor->second;
}

}  // namespace

Optimizer::Optimizer(const ParameterList& parameters, const OptimizerOptions& options)
    : options_(options) {
  const at::NoGradGuard no_grad;
  for (const Parameter& p : parameters) {
    if (!p.trained) continue;
    Slot slot;
    slot.name = p.name;
    slot.group = p.group;
    slot.decay = p.decay;
    slot.weights = *p.tensor;  // shares storage with the model
    if (options.average > 0) slot.average = slot.weights.detach().clone();
    if (options.method == Method::kAdamW) {
      slot.first = at::zeros_like(slot.weights);
      slot.second = at::zeros_like(slot.weights);
    } else {
      slot.factored = kernels::make_adafactor_state(slot.weights.detach(),
                                                    options.method == Method::kAdafactorInt8);
    }
    slots_.push_back(std::move(slot));
  }
}

void Optimizer::zero_gradients() {
  for (const Slot& slot : slots_) slot.weights.mutable_grad() = at::Tensor();
}

void Optimizer::select_trained(const std::map<std::string, double>& factors) {
  for (const Slot& slot : slots_) {
    slot.weights.set_requires_grad(factor_of(factors, slot.group) > 0);
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
  const bool clipped = options_.clip_norm > 0 && norm > options_.clip_norm;
  const double scale = clipped ? options_.clip_norm / norm : 1.0;
  if (options_.method == Method::kAdamW) {
    update_adamw(rate, factors, scale);
  } else {
    update_adafactor(rate, factors, scale);
  }
  const double decay = std::min(options_.average,
                                double(1 + steps_) / double(10 + steps_));  // follows fast at first
  for (const Slot& slot : slots_) {
    if (slot.average.defined()) slot.average.lerp_(slot.weights.detach(), 1.0 - decay);
  }
  return norm;
}

void Optimizer::update_adamw(double rate, const std::map<std::string, double>& factors,
                             double scale) {
  std::vector<kernels::AdamWUpdate> updates;
  for (const Slot& slot : slots_) {
    const double slot_rate = rate * factor_of(factors, slot.group);
    const at::Tensor& gradient = slot.weights.grad();
    if (!gradient.defined() || slot_rate <= 0) continue;
    updates.push_back(
        {slot.weights.detach(), gradient.contiguous(), slot.first, slot.second,
         kernels::AdamWOptions{.learning_rate = slot_rate,
                               .beta1 = options_.beta1,
                               .beta2 = options_.beta2,
                               .epsilon = options_.epsilon,
                               .weight_decay = slot.decay ? options_.weight_decay : 0.0,
                               .gradient_scale = scale,
                               .step = steps_}});
  }
  kernels::adamw_(updates);
}

void Optimizer::update_adafactor(double rate, const std::map<std::string, double>& factors,
                                 double scale) {
  for (Slot& slot : slots_) {
    const double slot_rate = rate * factor_of(factors, slot.group);
    const at::Tensor& gradient = slot.weights.grad();
    if (!gradient.defined() || slot_rate <= 0) continue;
    kernels::adafactor_(slot.weights.detach(), gradient.contiguous(), slot.factored,
                        {.learning_rate = slot_rate,
                         .beta1 = options_.beta1,
                         .beta2 = options_.beta2,
                         .epsilon = options_.epsilon,
                         .weight_decay = slot.decay ? options_.weight_decay : 0.0,
                         .gradient_scale = scale,
                         .step = steps_});
  }
}

std::map<std::string, at::Tensor> Optimizer::state() const {
  std::map<std::string, at::Tensor> state;
  for (const Slot& slot : slots_) {
    if (options_.method == Method::kAdamW) {
      state["first/" + slot.name] = slot.first;
      state["second/" + slot.name] = slot.second;
    } else {
      state["first/" + slot.name] = slot.factored.first_moment;
      state["rows/" + slot.name] = slot.factored.row_factor;
      state["columns/" + slot.name] = slot.factored.column_factor;
      if (options_.method == Method::kAdafactorInt8) {
        state["scales/" + slot.name] = slot.factored.first_scales;
      }
    }
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
