#include "kernels/gelu.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/sigmoid.h>
#include <cmath>
#include <numbers>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/check.h"
#include "kernels/cpu/gelu.h"

namespace lexel::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor forward_of(const at::Tensor& x) {
  at::Tensor y = at::empty_like(x);
  cpu::gelu(x.const_data_ptr(), y.mutable_data_ptr(), x.numel(), x.scalar_type() == at::kBFloat16);
  return y;
}

struct GeluFunction : torch::autograd::Function<GeluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return forward_of(x);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    check(!at::GradMode::is_enabled(), ErrorKind::kUsage,
          "gelu: it has no second derivative, and create_graph asks for one");
    const at::Tensor x = context->get_saved_variables()[0], grad = grads[0].contiguous();
    at::Tensor result = at::empty_like(x);
    cpu::gelu_backward(x.const_data_ptr(), grad.const_data_ptr(), result.mutable_data_ptr(),
                       x.numel(), x.scalar_type() == at::kBFloat16);
    return {result};
  }
};

}  // namespace

at::Tensor gelu(const at::Tensor& x) {
  check_arg(x.defined() && x.is_floating_point(), "gelu", "expected floating point, got ",
            x.defined() ? concat(x.scalar_type()) : "an undefined tensor");
  const bool ours = x.is_cpu() && x.is_contiguous() &&
                    (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
  if (!ours) return at::gelu(x, "tanh");
  return at::GradMode::is_enabled() && x.requires_grad() ? GeluFunction::apply(x) : forward_of(x);
}

at::Tensor gelu_reference(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor t = std::sqrt(8.0 / std::numbers::pi) * (wide + 0.044715 * wide * wide * wide);
  return (wide * at::sigmoid(t)).to(x.scalar_type());
}

}  // namespace lexel::kernels
