#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "autoregressive/config.h"
#include "autoregressive/moe/experts.h"
#include "autoregressive/parallel/layer_collectives.h"
#include "autoregressive/parallel/mesh.h"
#include "kernels/parameters.h"

namespace lexel::parallel {

/// Experts over the ranks of a group, tokens to them and back by all-to-all: what ForwardOptions::exchange takes. Each rank has
/// its own rows of the batch; the group is the axis "expert".
///
/// source   Lepikhin et al. 2020 (GShard), arXiv:2006.16668, section 3.2: dispatch GSEC, GSM -> EGCM, split anew from G to E
class ExpertAllToAll : public moe::ExpertExchange {
 public:
  /// group    outlives this object and backward passes
  explicit ExpertAllToAll(Group& group) : group_(group) {}

  int64_t ranks() const override { return group_.size(); }
  at::Tensor to_experts(const at::Tensor& x) const override;
  at::Tensor from_experts(const at::Tensor& x) const override;
  int64_t largest(int64_t rows) const override;

 private:
  Group& group_;
};

/// The experts of each layer over the axis "expert": router and embeddings of tasks on all ranks.
std::vector<Annotation> expert_annotations();

/// After each rank's backward pass of the mean loss of its own rows (with its auxiliary loss): gradients become those of the mean
/// over all ranks of both groups, the axes "expert" and "data". An expert's gradient has come together from the ranks of "expert" in the
/// all-to-all, the others' are summed.
///
/// parameters  of the rank's part of the model, of one dtype; one without a gradient gets zeros; the others stay where they lie
void reduce_gradients(const ParameterList& parameters, Group& experts, Group& data);

/// What Group::traffic() of the axis "expert" counts on each rank in a pass of ar::token_loss that learns, experts routed by token:
/// in each layer of R rows of n tokens, C = ceil(factor 2 n / E) each, four all-to-alls of E R C D numbers, two forward and two
/// backward, and two more where blocks are computed again.
Traffic expected_expert_traffic(const ar::Config& config, int64_t ranks, const PassShape& pass);

}  // namespace lexel::parallel
