#pragma once

#include <ATen/core/Tensor.h>

#include "autoregressive/moe/gating.h"

namespace lexel::moe {

/// top2_gating as the paper writes it: one dense tensor of weights, filled token after token.
struct DenseGating {
  at::Tensor
      combine;  // (G, S, E, C) float64, differentiable: the weight of a token in a row of an expert
  at::Tensor auxiliary;  // () float64, differentiable
};

/// The meaning of top2_gating without `real`, line by line; same arguments.
DenseGating gating_reference(const at::Tensor& logits, const at::Tensor& noise,
                             const GatingOptions& options);

/// The meaning of a layer of experts, in einsums over dense masks:
///   dispatch GSEC, GSM -> EGCM;  relu(EGCM, EHM -> EGCH), EMH -> EGCM;  combine GSEC, EGCM -> GSM
///
/// x        (G, S, M) float64
/// up       (E, H, M), down (E, M, H) float64
/// returns  (G, S, M)
at::Tensor experts_reference(const at::Tensor& x, const DenseGating& gating, const at::Tensor& up,
                             const at::Tensor& down);

}  // namespace lexel::moe
