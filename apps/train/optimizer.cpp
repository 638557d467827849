#include "apps/train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
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
  make_slots(parameters, alone_);
}

Optimizer::Optimizer(const ParameterList& parameters, const OptimizerOptions& options,
                     parallel::Group& data, NormSum norm, TensorPlaces places)
    : options_(options), norm_(std::move(norm)), places_(std::move(places)) {
  make_slots(parameters, data);
}

PlaceOfTensor Optimizer::place_of(const Parameter& parameter) const {
  const PlaceOfTensor whole{parameter.tensor->sizes().vec(), {}, true, ""};
  return places_.place ? places_.place(parameter.name).value_or(whole) : whole;
}

void Optimizer::make_slots(const ParameterList& parameters, parallel::Group& data) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors;
  for (const Parameter& p : parameters) {
    if (!p.trained) continue;
    trained_.push_back(p);
    tensors.push_back(*p.tensor);
  }
  using Cut = parallel::UpdateSharding::Cut;
  sharding_ = std::make_unique<parallel::UpdateSharding>(
      tensors, data, options_.method == Method::kAdamW ? Cut::kAnywhere : Cut::kTensorsWhole);
  for (size_t i = 0; i < sharding_->slices().size(); ++i) {
    const parallel::Slice& slice = sharding_->slices()[i];
    const Parameter& p = trained_[slice.tensor];
    Slot slot;
    slot.name = p.name;
    slot.group = p.group;
    slot.decay = p.decay;
    slot.place = place_of(p);
    slot.begin = slice.begin;
    slot.weights = sharding_->weights(i);  // shares storage with the model
    if (options_.average > 0) slot.average = slot.weights.clone();
    if (options_.method == Method::kAdamW) {
      slot.first = at::zeros_like(slot.weights);
      slot.second = at::zeros_like(slot.weights);
    } else {
      const bool int8 = options_.method == Method::kAdafactorInt8;
      const bool is_cut = !slot.place.part.ranges.empty();
      const int64_t rank = is_cut ? places_.along(slot.place.axis).rank() : 0;
      slot.factored = kernels::make_adafactor_state(slot.weights, int8);
      slot.factors = factor_places(p.name, slot.place, rank, int8);
      if (is_cut) cut_[slot.place.axis].push_back(i);
    }
    slots_.push_back(std::move(slot));
  }
}

void Optimizer::zero_gradients() { sharding_->zero_gradients(); }

void Optimizer::select_trained(const std::map<std::string, double>& factors) {
  for (const Parameter& p : trained_) p.tensor->set_requires_grad(factor_of(factors, p.group) > 0);
}

std::string Optimizer::own_culprit() const {
  for (const Parameter& p : trained_)
    if (p.tensor->grad().defined() && !p.tensor->grad().isfinite().all().item<bool>())
      return p.name;
  return "";
}

double Optimizer::gradient_norm() const {
  std::vector<at::Tensor> norms;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const at::Tensor gradient = sharding_->gradient(i);
    if (gradient.defined() && slots_[i].place.counts)
      norms.push_back(at::linalg_vector_norm(gradient));
  }
  double squared = 0.0;
  if (!norms.empty()) {
    const at::Tensor values = at::stack(norms).to(at::kDouble).cpu();  // one wait for the device
    squared = values.square().sum().item<double>();
  }
  if (norm_.over_ranks)
    return std::sqrt(norm_.over_ranks(squared, [this] { return own_culprit(); }));
  check(std::isfinite(squared), ErrorKind::kBadData, "the gradient of ", own_culprit(),
        " is not finite");
  return std::sqrt(squared);
}

double Optimizer::step(double rate, const std::map<std::string, double>& factors) {
  const at::NoGradGuard no_grad;
  sharding_->reduce();
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
    if (slot.average.defined()) slot.average.lerp_(slot.weights, 1.0 - decay);
  }
  sharding_->share_weights();
  return norm;
}

void Optimizer::update_adamw(double rate, const std::map<std::string, double>& factors,
                             double scale) {
  std::vector<kernels::AdamWUpdate> updates;
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    const double slot_rate = rate * factor_of(factors, slot.group);
    const at::Tensor gradient = sharding_->gradient(i);
    if (!gradient.defined() || slot_rate <= 0) continue;
    updates.push_back(
        {slot.weights, gradient.contiguous(), slot.first, slot.second,
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
  const auto options_of = [&](const Slot& slot) {
    return kernels::AdafactorOptions{.learning_rate = rate * factor_of(factors, slot.group),
                                     .beta1 = options_.beta1,
                                     .beta2 = options_.beta2,
                                     .epsilon = options_.epsilon,
                                     .weight_decay = slot.decay ? options_.weight_decay : 0.0,
                                     .gradient_scale = scale,
                                     .step = steps_};
  };
  for (size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    const at::Tensor gradient = sharding_->gradient(i);
    const kernels::AdafactorOptions options = options_of(slot);
    if (!slot.place.part.ranges.empty() || !gradient.defined() || options.learning_rate <= 0)
      continue;
    kernels::adafactor_(slot.weights, gradient.contiguous(), slot.factored, options);
  }
  for (const auto& [axis, cut] : cut_) {
    std::vector<AdafactorUpdate> updates;
    for (const size_t i : cut) {
      Slot& slot = slots_[i];
      const at::Tensor gradient = sharding_->gradient(i);
      const kernels::AdafactorOptions options = options_of(slot);
      if (options.learning_rate <= 0) continue;
      updates.push_back({slot.weights, gradient.defined() ? gradient.contiguous() : gradient,
                         &slot.factored, &slot.factors, options});
    }
    update_cut_tensors(updates, places_.along(axis));
  }
}

std::vector<StatePiece> Optimizer::state() const {
  std::vector<StatePiece> state;
  for (const Slot& slot : slots_) {
    // Of a slice of this rank's tensor; a factor or scale is of all of it.
    const auto sliced = [&](const char* kind, const at::Tensor& tensor) {
      const PlaceOfTensor& place = slot.place;
      state.push_back(
          {kind + slot.name, place.shape, place.part, slot.begin, tensor, place.counts});
    };
    const auto unsliced = [&](const char* kind, const PlaceOfTensor& place,
                              const at::Tensor& tensor) {
      state.push_back({kind + slot.name, place.shape, place.part, 0, tensor, place.counts});
    };
    sliced("weights/", slot.weights);
    if (options_.method == Method::kAdamW) {
      sliced("first/", slot.first);
      sliced("second/", slot.second);
    } else {
      sliced("first/", slot.factored.first_moment);
      unsliced("rows/", slot.factors.rows, slot.factored.row_factor);
      unsliced("columns/", slot.factors.columns, slot.factored.column_factor);
      if (options_.method == Method::kAdafactorInt8)
        unsliced("scales/", slot.factors.scales, slot.factored.first_scales);
    }
    if (slot.average.defined()) sliced("average/", slot.average);
  }
  return state;
}

void Optimizer::reset_averages() {
  const at::NoGradGuard no_grad;
  for (const Slot& slot : slots_) {
    if (slot.average.defined()) slot.average.copy_(slot.weights);
  }
}

void Optimizer::swap_averages() {
  const at::NoGradGuard no_grad;
  for (const Slot& slot : slots_) {
    if (!slot.average.defined()) continue;
    const at::Tensor kept = slot.weights.clone();
    slot.weights.copy_(slot.average);
    slot.average.copy_(kept);
  }
  if (options_.average > 0) sharding_->share_weights();
}

}  // namespace lexel::train
