#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

#include "autoregressive/config.h"
#include "autoregressive/moe/experts.h"
#include "autoregressive/transformer.h"

namespace lexel::ar {

/// 3 of "decoder.blocks.3.feed_forward".
int64_t block_number(const std::string& name);

/// Appends router, embeddings of tasks and both matrices of a layer of experts.
void list_experts(const std::string& name, moe::Experts& experts, const Config& config,
                  double residual_scale, const std::string& group, ParameterList& list);

/// The activation of a feed-forward layer: gelu, relu, or, where up has two parts of the `hidden` inputs of down, gelu(gate) value.
///
/// up       (..., hidden), or (..., 2 hidden)
/// returns  (..., hidden)
at::Tensor activated(const Config& config, const at::Tensor& up, int64_t hidden);

/// Experts in the place of a feed-forward layer. A row of the batch is a group of GShard. Routed by token in a step of learning
/// (ForwardOptions::experts) its tokens compete for capacity; routed by task, or where nothing is learnt, each token gets both its
/// experts.
///
/// x        (B, N, D) in `compute`: the normed stream
/// name     of the layer: it names the noise of second choices
/// returns  (B, N, D), float32 (float64 where that is `compute`); zeros for a token that no expert took
at::Tensor run_experts(const moe::Experts& experts, const std::string& name, const Config& config,
                       const BlockInputs& inputs, const at::Tensor& x,
                       const ForwardOptions& options);

/// Adds a layer to a record.
void add_to(ExpertRecord& record, const at::Tensor& auxiliary, const at::Tensor& chosen);

/// Mean over layers of the entropy of the use of experts over ln E, in [0, 1]: () float64.
/// throws   Error(kUsage) on a record of no layer
at::Tensor use_entropy(const ExpertRecord& record);

}  // namespace lexel::ar
