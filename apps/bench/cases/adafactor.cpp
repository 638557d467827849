#include "kernels/adafactor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <memory>

#include "apps/bench/case.h"
#include "kernels/adamw.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

/// The same step by ATen calls in float32, as Adafactor is written in frameworks.
void step_by_aten(const at::Tensor& w, const at::Tensor& gradient, kernels::AdafactorState& state,
                  const kernels::AdafactorOptions& o) {
  const at::NoGradGuard no_grad;
  const at::Tensor s = gradient.square().add_(o.epsilon);
  state.row_factor.lerp_(s.mean(1), 1 - o.beta2);
  state.column_factor.lerp_(s.mean(0), 1 - o.beta2);
  const at::Tensor row = (state.row_factor / state.row_factor.mean()).rsqrt_().unsqueeze(1);
  at::Tensor u = gradient * row * state.column_factor.rsqrt();
  u.div_((u.square().mean().sqrt() / o.clip_threshold).clamp_min(1.0));
  state.first_moment.lerp_(u, 1 - o.beta1);
  w.mul_(1 - o.learning_rate * o.weight_decay).sub_(state.first_moment, o.learning_rate);
}

std::string compare(const std::vector<int64_t>& shape, bool int8, at::Device device) {
  const at::Tensor w = at::empty(shape, device).normal_(), wanted = w.clone();
  const at::Tensor g = at::empty(shape, device).normal_();
  auto state = kernels::make_adafactor_state(w, int8),
       copy = kernels::make_adafactor_state(w, int8);
  kernels::adafactor_(w, g, state, {.learning_rate = 0.01});
  kernels::adafactor_reference_(wanted, g, copy, {.learning_rate = 0.01});
  const double worst = (w - wanted).abs().max().item<double>();
  // Weights up to 6 round by 2.4e-7 each of two times; steps are at most 0.01 x 0.1 x 6.
  check(worst < 2e-6, ErrorKind::kInternal, "adafactor_: ", worst, " from float64");
  return concat("weights within ", worst, " of float64");
}

Case make_case(const std::string& name, const std::vector<int64_t>& shape, bool int8,
               at::Device device) {
  const auto numel = static_cast<double>(shape[0]) * static_cast<double>(shape[1]);
  const auto prepare = [shape, int8, device] {
    const at::Tensor w = at::empty(shape, device).normal_(), g = at::empty(shape, device).normal_();
    const auto ours =
        std::make_shared<kernels::AdafactorState>(kernels::make_adafactor_state(w, int8));
    const auto theirs =
        std::make_shared<kernels::AdafactorState>(kernels::make_adafactor_state(w, false));
    const at::Tensor m = at::zeros_like(w), v = at::zeros_like(w);
    Runs runs;
    runs.check = [shape, int8, device] { return compare(shape, int8, device); };
    runs.ours = {"adafactor_", [=] { kernels::adafactor_(w, g, *ours, {.step = 100}); }};
    runs.peers.push_back({"LibTorch ops", [=] { step_by_aten(w, g, *theirs, {.step = 100}); }});
    runs.peers.push_back({"our adamw_", [=] { kernels::adamw_(w, g, m, v, {.step = 100}); }});
    return runs;
  };
  // Three passes over the gradient; weights and first moment read and written.
  return {"adafactor", name, Ceiling::kUpdate, (3 * 4 + 8 + (int8 ? 2 : 8)) * numel, prepare};
}

}  // namespace

std::vector<Case> adafactor_cases(at::Device device) {
  std::vector<Case> cases{make_case("5000 x 6000", {5000, 6000}, false, device),
                          make_case("5000 x 6000, int8 first moment", {5000, 6000}, true, device)};
  if (device.is_cuda()) {
    cases.push_back(
        make_case("56000 x 6250, int8 first moment", {56000, 6250}, true, device));  // 350 M
  }
  return cases;
}

}  // namespace lexel::bench
