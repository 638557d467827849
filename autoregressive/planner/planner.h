#pragma once

#include <cstdint>
#include <string>

#include "autoregressive/config.h"
#include "autoregressive/parallel/plan.h"
#include "autoregressive/planner/intra_layouts.h"
#include "autoregressive/planner/prediction.h"

namespace lexel::planner {

/// What a plan is found by.
struct PlanSearch {
  parallel::Plan plan;     // the best, with its prediction
  int64_t candidates = 0;  // meshes, micro-batches, schedules, layouts
  int64_t predicted = 0;  // of them carried out in full; the others' lower bound was above the best
  double block_s = 0;     // a decoder block and micro-batch, as planned
  double least_block_s =
      0;  // the same over all layouts of the integer program, also those that no model carries out
};

/// The fastest plan that fits the devices' memory: data x pipeline x expert x tensor ranks, micro-batches, schedule and rounds, stages,
/// rematerialisation, layouts. Inter-operator: stages of equal size by plan_stages on the times of blocks, or blocks shared out
/// evenly; intra-operator: intra_layouts. Never worse than parallel::even_plan on any mesh by the same prediction.
///
/// devices  >= 1; the mesh uses all of them
/// name     of the model, for people
/// throws   Error(kUsage) when nothing fits, with the least memory of any plan, or no mesh divides the batch
PlanSearch plan_model(const Predictor& predictor, int64_t devices, const std::string& name);

}  // namespace lexel::planner
