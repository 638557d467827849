#pragma once

#include <ATen/core/Tensor.h>
#include <functional>
#include <vector>

namespace lexel::ar {

/// A part of a model, of its inputs and parameters in one list. It must compute the same each time.
using Segment = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& inputs)>;

/// segment(inputs), of which the backward pass keeps the inputs only and computes the rest again. The same bits as
/// segment(inputs), gradients included; differentiable once.
///
/// inputs   all defined; outputs too
/// source   Chen et al. 2016, arXiv:1604.06174
std::vector<at::Tensor> rematerialized(const Segment& segment,
                                       const std::vector<at::Tensor>& inputs);

}  // namespace lexel::ar
