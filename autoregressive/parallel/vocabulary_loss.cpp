#include "autoregressive/parallel/vocabulary_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <torch/csrc/autograd/custom_function.h>

namespace lexel::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType wide(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/// Some rows' share of the vocabulary.
struct Part {
  int64_t first, rows;
  at::Tensor exponentials;  // (rows, K / n), of logits less the row's largest
  at::Tensor sum;           // (rows), of all ranks' exponentials
  at::Tensor target;        // (rows), the target's logit less the largest
  at::Tensor
      place;  // (rows, 1) int64: of the target among the own codes, 0 where it is another rank's
  at::Tensor is_own;  // (rows, 1) of the logits' dtype: 1 where it is not

  at::Tensor log_likelihoods() const { return target - sum.log(); }
};

template <class Visit>
void for_each_part(const ar::Linear& softmax, const at::Tensor& x, const at::Tensor& targets,
                   Group& group, Visit&& visit) {
  const ar::Linear typed{softmax.weight.to(x.scalar_type()), softmax.bias.to(x.scalar_type())};
  const int64_t codes = softmax.weight.size(0), begin = codes * group.rank();
  for (int64_t first = 0; first < x.size(0); first += kLossRows) {
    Part part;
    part.first = first;
    part.rows = std::min(kLossRows, x.size(0) - first);
    const at::Tensor logits =
        ar::apply_linear(typed, x.narrow(0, first, part.rows)).to(wide(x));  // (rows, K / n)
    at::Tensor largest = logits.amax({1});
    group.all_reduce(largest, Reduce::kMax);
    const at::Tensor shifted = logits - largest.unsqueeze(1);
    const at::Tensor place = targets.narrow(0, first, part.rows).unsqueeze(1) - begin;
    part.is_own = place.ge(0).logical_and(place.lt(codes)).to(wide(x));
    part.place = place.clamp(0, codes - 1);
    const at::Tensor own_target = (shifted.gather(1, part.place) * part.is_own).squeeze(1);
    part.exponentials = shifted.exp();
    at::Tensor sums = at::stack({part.exponentials.sum(1), own_target});  // (2, rows)
    group.all_reduce(sums);
    part.sum = sums[0];
    part.target = sums[1];
    visit(part);
  }
}

struct VocabularyLossFunction : torch::autograd::Function<VocabularyLossFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor& targets,
                            const Group& given_group) {
    Group group = given_group;
    const double share = 1.0 / static_cast<double>(x.size(0));
    const at::Tensor typed_weight = weight.to(x.scalar_type());
    const at::Tensor grad_x = at::empty_like(x), grad_weight = at::zeros_like(weight),
                     grad_bias = at::zeros_like(bias);
    at::Tensor sum = at::zeros({}, x.options().dtype(at::kDouble));
    for_each_part({weight, bias}, x, targets, group, [&](const Part& part) {
      sum -= part.log_likelihoods().sum(at::kDouble);
      // d loss / d logits = (p - one hot) / R; the division comes last, at the smaller results.
      at::Tensor grad = part.exponentials / part.sum.unsqueeze(1);  // (rows, K / n)
      grad.scatter_add_(1, part.place, -part.is_own);
      grad_bias.add_(grad.sum(0), share);
      grad = grad.to(x.scalar_type());
      grad_x.narrow(0, part.first, part.rows).copy_(at::mm(grad, typed_weight).mul_(share));
      grad_weight.add_(at::mm(grad.t(), x.narrow(0, part.first, part.rows)), share);
    });
    context->save_for_backward({grad_x, grad_weight, grad_bias});
    return sum.mul_(share).to(wide(x));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& grad = grads[0];
    return {saved[0] * grad.to(saved[0].scalar_type()), saved[1] * grad, saved[2] * grad, {}, {}};
  }
};

}  // namespace

at::Tensor vocabulary_loss(const ar::Linear& softmax, const at::Tensor& x,
                           const at::Tensor& targets, const Group& group) {
  if (at::GradMode::is_enabled() &&
      (x.requires_grad() || softmax.weight.requires_grad() || softmax.bias.requires_grad())) {
    return VocabularyLossFunction::apply(x, softmax.weight, softmax.bias, targets, group);
  }
  return -vocabulary_log_likelihoods(softmax, x, targets, group).mean();
}

at::Tensor vocabulary_log_likelihoods(const ar::Linear& softmax, const at::Tensor& x,
                                      const at::Tensor& targets, const Group& given_group) {
  const at::NoGradGuard no_grad;
  Group group = given_group;
  std::vector<at::Tensor> parts;
  for_each_part(softmax, x, targets, group,
                [&](const Part& part) { parts.push_back(part.log_likelihoods()); });
  return parts.empty() ? at::zeros({0}, x.options().dtype(wide(x))) : at::cat(parts);
}

}  // namespace lexel::parallel
