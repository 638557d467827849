#include "autoregressive/softmax_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <torch/csrc/autograd/custom_function.h>

namespace lexel::ar {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows whose logits exist at once. On the CPU they should stay in the caches.
int64_t rows_at_once(const at::Tensor& x) { return x.is_cpu() ? 512 : 8192; }

at::ScalarType wide(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Calls visit(first row, rows, their log probabilities (rows, K)) for part after part.
template <class Visit>
void for_each_part(const Linear& softmax, const at::Tensor& x, Visit&& visit) {
  const Linear typed{softmax.weight.to(x.scalar_type()), softmax.bias.to(x.scalar_type())};
  const int64_t part = rows_at_once(x);
  for (int64_t first = 0; first < x.size(0); first += part) {
    const int64_t rows = std::min(part, x.size(0) - first);
    const auto logits = apply_linear(typed, x.narrow(0, first, rows));
    visit(first, rows, at::log_softmax(logits, 1, wide(x)));
  }
}

struct SoftmaxLossFunction : torch::autograd::Function<SoftmaxLossFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor& targets) {
    const double share = 1.0 / static_cast<double>(x.size(0));
    const at::Tensor typed_weight = weight.to(x.scalar_type());
    const at::Tensor grad_x = at::empty_like(x), grad_weight = at::zeros_like(weight),
                     grad_bias = at::zeros_like(bias);
    at::Tensor sum = at::zeros({}, x.options().dtype(at::kDouble));
    for_each_part({weight, bias}, x, [&](int64_t first, int64_t rows, const at::Tensor& log_p) {
      const auto target = targets.narrow(0, first, rows).unsqueeze(1);  // (rows, 1)
      sum -= log_p.gather(1, target).sum(at::kDouble);
      // d loss / d logits = (p - one hot) / R; the division comes last, at the smaller results.
      at::Tensor grad = log_p.exp_();  // (rows, K)
      grad.scatter_add_(1, target, at::full({1, 1}, -1.0, grad.options()).expand({rows, 1}));
      grad_bias.add_(grad.sum(0), share);
      grad = grad.to(x.scalar_type());
      grad_x.narrow(0, first, rows).copy_(at::mm(grad, typed_weight).mul_(share));
      grad_weight.add_(at::mm(grad.t(), x.narrow(0, first, rows)), share);
    });
    context->save_for_backward({grad_x, grad_weight, grad_bias});
    return sum.mul_(share).to(wide(x));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& grad = grads[0];
    return {saved[0] * grad.to(saved[0].scalar_type()), saved[1] * grad, saved[2] * grad, {}};
  }
};

}  // namespace

at::Tensor softmax_loss(const Linear& softmax, const at::Tensor& x, const at::Tensor& targets) {
  if (at::GradMode::is_enabled() &&
      (x.requires_grad() || softmax.weight.requires_grad() || softmax.bias.requires_grad())) {
    return SoftmaxLossFunction::apply(x, softmax.weight, softmax.bias, targets);
  }
  return -log_likelihoods(softmax, x, targets).mean();
}

at::Tensor log_likelihoods(const Linear& softmax, const at::Tensor& x, const at::Tensor& targets) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for_each_part(softmax, x, [&](int64_t first, int64_t rows, const at::Tensor& log_p) {
    parts.push_back(log_p.gather(1, targets.narrow(0, first, rows).unsqueeze(1)).squeeze(1));
  });
  return parts.empty() ? at::zeros({0}, x.options().dtype(wide(x))) : at::cat(parts);
}

}  // namespace lexel::ar
