#pragma once

#include <ATen/ops/zeros_like.h>
#include <vector>

#include "autoregressive/model.h"
#include "kernels/adamw.h"

namespace lexel::tests {

/// `steps` steps of AdamW on one batch; the last loss.
inline double train(ar::Model& model, const ar::Condition& condition, const at::Tensor& tokens,
                    int64_t steps, double rate, const ar::ForwardOptions& options = {}) {
  const ParameterList list = ar::parameters(model);
  require_gradients(list, true);
  std::vector<kernels::AdamWUpdate> updates;
  for (const Parameter& p : list) {
    updates.push_back({p.tensor->detach(),
                       {},
                       at::zeros_like(*p.tensor).detach(),
                       at::zeros_like(*p.tensor).detach(),
                       {}});
  }
  double last = 0.0;
  for (int64_t step = 1; step <= steps; ++step) {
    const at::Tensor loss = ar::token_loss(model, condition, tokens, options);
    loss.backward();
    for (size_t i = 0; i < list.size(); ++i) {
      updates[i].gradient = list[i].tensor->grad();
      updates[i].options = {.learning_rate = rate, .beta2 = 0.96, .step = step};
    }
    kernels::adamw_(updates);
    for (const Parameter& p : list) p.tensor->mutable_grad().reset();
    last = loss.item<double>();
  }
  require_gradients(list, false);
  return last;
}

}  // namespace lexel::tests
