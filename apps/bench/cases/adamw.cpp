#include "kernels/adamw.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <memory>
#include <torch/optim/adamw.h>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

constexpr double kRate = 1e-3, kBeta1 = 0.9, kBeta2 = 0.99, kEpsilon = 1e-8, kDecay = 0.05;

kernels::AdamWOptions options(int64_t step) {
  return {.learning_rate = kRate,
          .beta1 = kBeta1,
          .beta2 = kBeta2,
          .epsilon = kEpsilon,
          .weight_decay = kDecay,
          .step = step};
}

/// The parameters of a model, their gradients and moments, and how many steps were made.
struct State {
  std::vector<at::Tensor> weights, gradients, first, second, steps;
  int64_t count = 0;

  State(const std::vector<std::vector<int64_t>>& shapes, at::Device device) {
    for (const auto& shape : shapes) {
      weights.push_back(at::empty(shape, device).normal_());
      gradients.push_back(at::empty(shape, device).normal_());
      first.push_back(at::zeros(shape, device));
      second.push_back(at::zeros(shape, device));
      steps.push_back(at::zeros({}, device));
    }
  }

  void step_ours() {
    ++count;
    std::vector<kernels::AdamWUpdate> updates;
    for (size_t i = 0; i < weights.size(); ++i) {
      updates.push_back({weights[i], gradients[i], first[i], second[i], options(count)});
    }
    kernels::adamw_(updates);
  }

  void step_fused() {
    const at::NoGradGuard no_grad;
    ++count;
    for (const at::Tensor& step : steps) step.fill_(count);  // torch::optim's callers add 1 to each
    at::_fused_adamw_(weights, gradients, first, second, {}, steps, kRate, kBeta1, kBeta2, kDecay,
                      kEpsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
};

std::string compare(const std::vector<std::vector<int64_t>>& shapes, at::Device device) {
  State ours(shapes, device);
  double worst = 0.0;
  std::vector<at::Tensor> wanted;
  for (size_t i = 0; i < shapes.size(); ++i) {
    wanted.push_back(ours.weights[i].clone());
    kernels::adamw_reference_(wanted[i], ours.gradients[i], at::zeros_like(wanted[i]),
                              at::zeros_like(wanted[i]), options(1));
  }
  ours.step_ours();
  for (size_t i = 0; i < shapes.size(); ++i) {
    worst = std::max(worst, (ours.weights[i] - wanted[i]).abs().max().item<double>());
  }
  // A step is at most the rate plus the decay; weights up to 6 round by 2.4e-7 each of three times.
  check(worst < 2e-6, ErrorKind::kInternal, "adamw_: ", worst, " from float64");
  return concat("weights within ", worst, " of float64");
}

Case make_case(const std::string& name, const std::vector<std::vector<int64_t>>& shapes,
               at::Device device) {
  double numel = 0;
  for (const auto& shape : shapes) {
    double product = 1;
    for (const int64_t side : shape) product *= static_cast<double>(side);
    numel += product;
  }
  const auto prepare = [shapes, device] {
    Runs runs;
    const auto state = std::make_shared<State>(shapes, device);
    runs.check = [shapes, device] { return compare(shapes, device); };
    runs.ours = {"adamw_", [state] { state->step_ours(); }};
    runs.peers.push_back({"LibTorch _fused_adamw_", [state] { state->step_fused(); }});
    std::vector<at::Tensor> parameters;
    for (size_t i = 0; i < state->weights.size(); ++i) {
      parameters.push_back(state->weights[i].clone().requires_grad_());
      parameters.back().mutable_grad() = state->gradients[i];
    }
    const auto optimizer =
        std::make_shared<torch::optim::AdamW>(parameters, torch::optim::AdamWOptions(kRate)
                                                              .betas({kBeta1, kBeta2})
                                                              .eps(kEpsilon)
                                                              .weight_decay(kDecay));
    runs.peers.push_back({"torch::optim::AdamW", [optimizer] { optimizer->step(); }});
    return runs;
  };
  return {"adamw", name, Ceiling::kUpdate, 28 * numel, prepare};
}

}  // namespace

std::vector<Case> adamw_cases(at::Device device) {
  const std::vector<std::vector<int64_t>> one{{30'000'000}};
  // The tensors of 12 layers of width 256: 9.5 M weights, most tensors small.
  std::vector<std::vector<int64_t>> many;
  for (int layer = 0; layer < 12; ++layer) {
    for (const int64_t out : {768, 256, 1024, 1024}) {
      many.push_back({out, 256});
      many.push_back({out});
    }
    for (int i = 0; i < 8; ++i) many.push_back({256});
  }
  std::vector<Case> cases{make_case("30 M, one tensor", one, device),
                          make_case("9.5 M, 192 tensors", many, device)};
  if (device.is_cuda()) {
    // The 350 M of a decoder of 24 layers of width 1024, in 290 tensors (G13).
    std::vector<std::vector<int64_t>> decoder{{33'000, 1024}, {8192, 1024}};
    for (int layer = 0; layer < 24; ++layer) {
      for (int i = 0; i < 4; ++i) decoder.push_back({1024, 1024});
      decoder.push_back({4096, 1024});
      decoder.push_back({1024, 4096});
      for (int i = 0; i < 6; ++i) decoder.push_back({1024});
    }
    cases.push_back(make_case("344 M, 290 tensors", decoder, device));
  }
  return cases;
}

}  // namespace lexel::bench
