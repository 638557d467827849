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

/// A fresh model of these parameters alone, of the values of ar::make_model(): the others never take memory.
ar::Model make_stage(const ar::Config& config, const Plan& plan, int64_t rank, uint64_t seed,
                     at::Device device);

/// Frees the others: their tensors become undefined.
void keep_stage(ar::Model& model, const Plan& plan, int64_t rank);

}  // namespace lexel::parallel
