#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

#include "autoregressive/parallel/group.h"

namespace lexel::parallel {

/// Collectives with gradients: each is the transpose of its backward pass. "Equal" tensors hold the same values on all ranks
/// of the group, "partial" ones are terms of a sum, "parts" lie behind each other along a dimension. A gradient of an equal
/// tensor is equal, or partial where what follows is different work on each rank. All ranks call in the same order; the
/// backward pass then does too. In a group of one every function gives x itself.
///
/// throws   as Group; Error(kUsage) where a dimension does not divide, naming the axis
/// source   Shoeybi et al. 2019, arXiv:1909.08053, section 3 (f is copy, g is reduce);
///          Korthikanti et al. 2022, arXiv:2205.05198, section 4.2.2 (g is gather, its conjugate is scatter_sum)

/// x itself, equal, for work that is split: its gradients are partial and summed.
at::Tensor copy(const at::Tensor& x, const Group& group);

/// The sum of partial tensors; its gradient is equal.
at::Tensor reduce(const at::Tensor& x, const Group& group);

/// All parts, for work that is split: its gradients are partial, and their sum's own part goes back.
at::Tensor gather(const at::Tensor& x, int64_t dim, const Group& group);

/// All parts, for work that all ranks do alike: the gradient is equal, and its own part goes back.
at::Tensor gather_equal(const at::Tensor& x, int64_t dim, const Group& group);

/// The sum's own part; the gradient is gathered.
at::Tensor scatter_sum(const at::Tensor& x, int64_t dim, const Group& group);

/// The own part of an equal tensor; the gradient is gathered.
at::Tensor split(const at::Tensor& x, int64_t dim, const Group& group);

/// Part j along dimension 0 goes to rank j; what came, in the order of ranks. The gradient goes the same way back.
at::Tensor all_to_all(const at::Tensor& x, const Group& group);

}  // namespace lexel::parallel
