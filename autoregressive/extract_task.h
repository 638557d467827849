#pragma once

#include <cstdint>

#include "autoregressive/model.h"

namespace lexel::ar {

/// The part of a model that one task uses, as a dense model: in the place of each layer of experts stand the two that the task is
/// routed to, side by side as one layer of twice the hidden units, their gates in its second matrix. Routing "static".
///
///   g1 W2[e1] f(W1[e1] x) + g2 W2[e2] f(W1[e2] x) = (g1 W2[e1], g2 W2[e2]) f((W1[e1]; W1[e2]) x)
///
/// returns  a model that shares the other tensors; float32 on the model's device
/// throws   Error(kUsage) on a model whose experts are not routed by task, or a task that it does not know
/// source   Kudugunta et al. 2021, arXiv:2110.03742, section 3.2
Model task_model(const Model& model, int64_t task);

}  // namespace lexel::ar
