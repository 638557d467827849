#include "autoregressive/moe/experts.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <torch/csrc/autograd/custom_function.h>
#include <vector>

#include "kernels/check.h"

namespace lexel::moe {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor with_zero_row(const at::Tensor& x) {
  return at::cat({x, at::zeros({1, x.size(1)}, x.options())});
}

/// y[i] = x[from[i]], where each row of x is in at most k of them: row j in to[0..k-1][j]. A row number past the end stands for
/// zeros. So the gradient copies rows as well, in an order that is always the same.
struct TakeRows : torch::autograd::Function<TakeRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& from,
                            const at::Tensor& to) {
    context->save_for_backward({to});
    return with_zero_row(x).index_select(0, from);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::Tensor to = context->get_saved_variables()[0];  // (k, rows of x)
    const at::Tensor grad = with_zero_row(grads[0]);
    at::Tensor sum = grad.index_select(0, to[0]);
    for (int64_t i = 1; i < to.size(0); ++i) sum = sum + grad.index_select(0, to[i]);
    return {sum, at::Tensor(), at::Tensor()};
  }
};

/// Which of the 2 T choices each row of the buffer holds: (rows) int64, 2 T for none.
at::Tensor choice_of_row(const Routing& routing) {
  const at::Tensor slots = routing.slots.flatten();  // (2 T)
  const int64_t choices = slots.size(0);
  const at::Tensor owner = at::full({routing.rows + 1}, choices, slots.options());
  return owner.scatter(0, slots, at::arange(choices, slots.options())).slice(0, 0, routing.rows);
}

void check_matrices(const Experts& experts, int64_t width, int64_t held) {
  const bool fit = experts.up.defined() && experts.down.defined() && experts.up.dim() == 2 &&
                   experts.down.dim() == 2 && experts.up.size(1) == width &&
                   experts.up.size(0) == held * experts.down.size(1) &&
                   experts.down.size(0) == held * width;
  check_arg(fit, "moe::apply_experts", "expected matrices (", held, " hidden, ", width, ") and (",
            held, " ", width, ", hidden), got others");
}

/// x (E, n, D) through up (E, hidden, D), down (E, D, hidden).
at::Tensor batched(const at::Tensor& x, const at::Tensor& up, const at::Tensor& down,
                   const Activation& activation) {
  const at::Tensor hidden = activation(at::bmm(x, up.transpose(1, 2)));  // (E, n, hidden)
  return at::bmm(hidden, down.transpose(1, 2));
}

at::Tensor one_by_one(const at::Tensor& x, const at::Tensor& up, const at::Tensor& down,
                      const Activation& activation, const std::vector<int64_t>& rows) {
  const std::vector<at::Tensor> inputs = x.split_with_sizes(rows);
  const std::vector<at::Tensor> ups = up.unbind(0), downs = down.unbind(0);
  std::vector<at::Tensor> outputs;
  for (size_t e = 0; e < rows.size(); ++e) {
    if (rows[e] == 0) continue;
    outputs.push_back(at::mm(activation(at::mm(inputs[e], ups[e].t())), downs[e].t()));
  }
  return outputs.empty() ? x : at::cat(outputs);
}

}  // namespace

at::Tensor dispatch(const at::Tensor& x, const Routing& routing) {
  const at::Tensor choice = choice_of_row(routing);
  const int64_t tokens = routing.tokens;
  const at::Tensor token =
      choice.remainder(std::max<int64_t>(tokens, 1)).masked_fill(choice.eq(2 * tokens), tokens);
  return TakeRows::apply(x, token, routing.slots);
}

at::Tensor combine(const at::Tensor& y, const Routing& routing) {
  const at::Tensor picked =
      TakeRows::apply(y, routing.slots.flatten(), choice_of_row(routing).unsqueeze(0))
          .view({2, routing.tokens, y.size(1)});
  return (picked * routing.gates.unsqueeze(2)).sum(0);  // (T, D)
}

at::Tensor apply_experts(const at::Tensor& x, const Experts& experts, const Routing& routing,
                         const Activation& activation, const ExpertExchange* exchange) {
  const char* const name = "moe::apply_experts";
  const int64_t ranks = exchange == nullptr ? 1 : exchange->ranks(), width = x.size(1);
  check_arg(routing.experts % ranks == 0, name, "expected experts that divide by ", ranks,
            " ranks, got ", routing.experts);
  const int64_t held = routing.experts / ranks;
  check_matrices(experts, width, held);
  const auto matrices = [&](const at::Tensor& all) {
    return all.to(x.scalar_type()).view({held, all.size(0) / held, all.size(1)});
  };
  const at::Tensor up = matrices(experts.up), down = matrices(experts.down);
  const at::Tensor in = dispatch(x, routing);  // (rows, D)
  if (!routing.rows_of_expert.empty()) {
    check_arg(ranks == 1, name, "expected the same rows for each expert on ", ranks,
              " ranks, got differing ones");
    return combine(one_by_one(in, up, down, activation, routing.rows_of_expert), routing);
  }
  at::Tensor y = in.view({routing.experts, routing.rows / routing.experts, width});
  if (ranks > 1) y = exchange->to_experts(y);
  y = batched(y, up, down, activation);
  if (ranks > 1) y = exchange->from_experts(y);
  return combine(y.reshape({routing.rows, width}), routing);
}

at::Tensor use_entropy(const at::Tensor& chosen) {
  const at::Tensor share = chosen.to(at::kDouble) / chosen.sum().clamp_min(1).to(at::kDouble);
  return (share * share.clamp_min(1e-300).log()).sum() /
         -std::log(static_cast<double>(chosen.size(0)));
}

}  // namespace lexel::moe
