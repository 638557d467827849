#include "kernels/adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <cmath>
#include <vector>

#include "kernels/adamw_part.h"
#include "kernels/check.h"
#include "kernels/cpu/adamw.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

void check_arguments(const char* function, const at::Tensor& weights, const at::Tensor& gradient,
                     const at::Tensor& first_moment, const at::Tensor& second_moment,
                     const AdamWOptions& options) {
  check_arg(options.step >= 1, function, "expected a step of at least 1, got ", options.step);
  for (const at::Tensor& x : {weights, gradient, first_moment, second_moment}) {
    check_arg(x.defined(), function, "expected four tensors, got an undefined one");
    check_arg(x.scalar_type() == at::kFloat, function, "expected float32, got ", x.scalar_type());
    check_arg(x.sizes() == weights.sizes(), function, "expected shape ", weights.sizes(), ", got ",
              x.sizes());
    check_arg(x.is_contiguous(), function, "expected contiguous tensors, got strides ",
              x.strides());
    check_arg(x.device() == weights.device(), function, "expected device ", weights.device(),
              ", got ", x.device());
    check_arg(x.is_cpu() || x.is_cuda(), function, "expected a CPU or CUDA tensor, got one on ",
              x.device());
  }
}

AdamWPart part_of(const AdamWUpdate& update) {
  const AdamWOptions& o = update.options;
  const auto step = static_cast<double>(o.step);
  return {.weights = update.weights.mutable_data_ptr<float>(),
          .gradient = update.gradient.const_data_ptr<float>(),
          .first_moment = update.first_moment.mutable_data_ptr<float>(),
          .second_moment = update.second_moment.mutable_data_ptr<float>(),
          .count = update.weights.numel(),
          .gradient_scale = static_cast<float>(o.gradient_scale),
          .beta1 = static_cast<float>(o.beta1),
          .one_minus_beta1 = static_cast<float>(1.0 - o.beta1),
          .beta2 = static_cast<float>(o.beta2),
          .one_minus_beta2 = static_cast<float>(1.0 - o.beta2),
          .keep = static_cast<float>(1.0 - o.learning_rate * o.weight_decay),
          .rate = static_cast<float>(o.learning_rate / (1.0 - std::pow(o.beta1, step))),
          .correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, step))),
          .epsilon = static_cast<float>(o.epsilon)};
}

}  // namespace

void adamw_reference_(const at::Tensor& weights, const at::Tensor& gradient,
                      const at::Tensor& first_moment, const at::Tensor& second_moment,
                      const AdamWOptions& o) {
  check_arguments("adamw_reference_", weights, gradient, first_moment, second_moment, o);
  const at::NoGradGuard no_grad;
  const at::Tensor g = gradient.to(at::kDouble) * o.gradient_scale;
  const at::Tensor m = first_moment.to(at::kDouble) * o.beta1 + g * (1.0 - o.beta1);
  const at::Tensor v = second_moment.to(at::kDouble) * o.beta2 + g * g * (1.0 - o.beta2);
  const at::Tensor m_hat = m / (1.0 - std::pow(o.beta1, double(o.step)));
  const at::Tensor v_hat = v / (1.0 - std::pow(o.beta2, double(o.step)));
  const at::Tensor w = weights.to(at::kDouble) * (1.0 - o.learning_rate * o.weight_decay) -
                       m_hat / (v_hat.sqrt() + o.epsilon) * o.learning_rate;
  weights.copy_(w);
  first_moment.copy_(m);
  second_moment.copy_(v);
}

void adamw_(const at::Tensor& weights, const at::Tensor& gradient, const at::Tensor& first_moment,
            const at::Tensor& second_moment, const AdamWOptions& options) {
  const AdamWUpdate update{weights, gradient, first_moment, second_moment, options};
  adamw_({&update, 1});
}

void adamw_(std::span<const AdamWUpdate> updates) {
  std::vector<AdamWPart> parts;
  parts.reserve(updates.size());
  for (const AdamWUpdate& update : updates) {
    check_arguments("adamw_", update.weights, update.gradient, update.first_moment,
                    update.second_moment, update.options);
    check_arg(update.weights.device() == updates[0].weights.device(), "adamw_",
              "expected one device, got ", updates[0].weights.device(), " and ",
              update.weights.device());
    parts.push_back(part_of(update));
  }
  if (updates.empty()) return;
  if (const CudaKernels* const cuda = cuda_kernels_for(updates[0].weights)) {
    cuda->adamw(updates[0].weights, parts);
  } else {
    cpu::adamw(parts);
  }
}

}  // namespace lexel::kernels
