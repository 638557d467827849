#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "autoregressive/parallel/plan.h"
#include "autoregressive/planner/cost_model.h"
#include "autoregressive/planner/layer_graph.h"
#include "autoregressive/planner/prediction.h"

// What a prediction is put together from; private to this folder.

namespace lexel::planner {

constexpr double kWeightBytes = 4, kStreamBytes = 4;  // float32

/// A plan in numbers.
struct PlanShape {
  int64_t data, ranks, expert, tensor;  // lengths of the axes; `ranks` of "pipeline"
  int64_t pictures;                     // of a micro-batch on one rank
  int64_t micro_batches, rounds;
  double batches;  // micro_batches

  explicit PlanShape(const parallel::Plan& plan);
};

/// A plan with the costs of its layers.
struct PricedPlan {
  const LayerGraph& graph;
  const Machine& machine;
  const Training& training;
  const parallel::Plan& plan;
  PlanShape shape;
  const ModelCost& costs;
};

/// Times, memory and weights of some blocks; without what they send.
LayerCost sum_of(const std::vector<LayerCost>& blocks, const parallel::BlockRange& range);

/// Those of all blocks of a rank of the pipeline.
LayerCost sum_of_rank(const PricedPlan& priced, int64_t rank);

/// Bytes of the stream at a chunk's border, for a micro-batch.
double border_bytes(const PricedPlan& priced, bool encoder);

/// What a rank of the pipeline holds at the peak (rank_memory.cpp).
double rank_memory(const PricedPlan& priced, int64_t rank);

/// What a rank of the pipeline sends in a step, by Traffic's names (rank_bytes.cpp).
std::map<std::string, double> rank_bytes(const PricedPlan& priced, int64_t rank);

// step_time.cpp

/// Of a micro-batch in the chunks of the plan.
ChunkTimes chunk_times(const PricedPlan& priced);

/// All passes of a step: the schedule carried out, or what each rank computes where there is no pipeline.
Replay replay_passes(const PricedPlan& priced, const ChunkTimes& times);

/// Of one rank after its passes: gradients over "expert" and "data", the update and the gathering of the new weights.
///
/// last_backward_s   of the last pass, for the exchange over "data" to hide behind
double update_seconds(const PricedPlan& priced, int64_t rank, double last_backward_s);

}  // namespace lexel::planner
