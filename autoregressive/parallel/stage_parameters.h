#pragma once

#include <cstdint>
#include <string>

#include "autoregressive/model.h"
#include "autoregressive/parallel/plan.h"
#include "kernels/parameters.h"

namespace lexel::parallel {

/// The plan's stage that holds the parameter `name` of ar::parameters(); see Stage.
/// throws   Error(kUsage) on a name that no stage holds
int64_t stage_of(const Plan& plan, const std::string& name);

/// The parameters that rank `rank` of the axis "pipeline" holds under the plan, in the model's order.
ParameterList stage_parameters(ar::Model& model, const Plan& plan, int64_t rank);

/// Frees the others: their tensors become undefined.
void keep_stage(ar::Model& model, const Plan& plan, int64_t rank);

}  // namespace lexel::parallel
