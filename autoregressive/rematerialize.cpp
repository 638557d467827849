#include "autoregressive/rematerialize.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <utility>

namespace lexel::ar {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A segment in a form that an autograd context keeps.
struct SegmentHolder : torch::CustomClassHolder {
  explicit SegmentHolder(Segment s) : segment(std::move(s)) {}
  Segment segment;
};

struct RematerializedFunction : torch::autograd::Function<RematerializedFunction> {
  static variable_list forward(AutogradContext* context, const Segment& segment,
                               const at::TensorList& given) {
    const variable_list inputs = given.vec();
    context->save_for_backward(inputs);
    context->saved_data["segment"] =
        c10::IValue::make_capsule(c10::make_intrusive<SegmentHolder>(segment));
    return segment(inputs);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto holder = c10::static_intrusive_pointer_cast<SegmentHolder>(
        context->saved_data["segment"].toCapsule());
    variable_list inputs, wanted;  // the same inputs as leaves of a graph of their own
    for (const at::Tensor& saved : context->get_saved_variables()) {
      inputs.push_back(saved.detach().requires_grad_(saved.requires_grad()));
      if (saved.requires_grad()) wanted.push_back(inputs.back());
    }
    variable_list found;
    {
      const at::AutoGradMode graph(true);
      variable_list outputs, output_grads;  // those that the loss depends on
      const variable_list all = holder->segment(inputs);
      for (size_t i = 0; i < all.size(); ++i) {
        if (!all[i].requires_grad() || !grads[i].defined()) continue;
        outputs.push_back(all[i]);
        output_grads.push_back(grads[i]);
      }
      found = torch::autograd::grad(outputs, wanted, output_grads,
                                    /*retain_graph=*/std::nullopt, /*create_graph=*/false,
                                    /*allow_unused=*/true);
    }
    variable_list result(1);  // of `segment`: none
    size_t next = 0;
    for (const at::Tensor& input : inputs) {
      result.push_back(input.requires_grad() ? found[next++] : at::Tensor());
    }
    return result;
  }
};

}  // namespace

std::vector<at::Tensor> rematerialized(const Segment& segment,
                                       const std::vector<at::Tensor>& inputs) {
  return RematerializedFunction::apply(segment, at::TensorList(inputs));
}

}  // namespace lexel::ar
