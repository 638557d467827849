#include <algorithm>

#include "autoregressive/parallel/pipeline_schedule.h"
#include "autoregressive/planner/priced_plan.h"

// RankPrediction::memory_bytes: weights, gradients, the optimizer's state, and the larger of what the passes and what the sum of
// gradients over "expert" need beside them.

namespace lexel::planner {
namespace {

/// Kept between forward and backward passes, and the most that is computed again at once.
double kept_bytes(const PricedPlan& priced, int64_t rank) {
  const PlanShape& shape = priced.shape;
  const parallel::Plan& plan = priced.plan;
  double kept = 0, largest = 0;
  const auto kind = parallel::parse_schedule(plan.schedule);
  const double pairs =  // of decoder chunks on this rank, forward done and backward not
      shape.ranks == 1 ? 1.0
                       : static_cast<double>(parallel::peak_by_formula(
                             kind, {shape.ranks, shape.micro_batches, shape.rounds}, rank)) /
                             static_cast<double>(shape.rounds);
  for (size_t i = static_cast<size_t>(rank); i < plan.stages.size();
       i += static_cast<size_t>(shape.ranks)) {
    for (const bool encoder : {true, false}) {
      const parallel::BlockRange& range = encoder ? plan.stages[i].encoder : plan.stages[i].decoder;
      if (range.size() == 0) continue;
      const auto& blocks = encoder ? priced.costs.encoder : priced.costs.decoder;
      const LayerCost sum = sum_of(blocks, range);
      const double border = border_bytes(priced, encoder);
      // The encoder's forwards are all done before its first backward.
      const double live = shape.ranks == 1 ? 1.0 : encoder ? shape.batches : pairs;
      if (!plan.rematerialize) {
        kept += live * sum.kept;
      } else if (shape.ranks > 1) {  // a chunk's border each, and all of one chunk
        kept += live * border;
        largest = std::max(largest, sum.kept);
      } else {  // a block's border each, and all of one block
        kept += static_cast<double>(range.size()) * border;
        for (int64_t b = range.begin; b < range.end; ++b)
          largest = std::max(largest, blocks[static_cast<size_t>(b)].kept);
      }
    }
  }
  return kept + largest;
}

/// Gradients of what is kept, for the widest layer at a time, whose hidden units go as their gradients come, and the logits that exist at
/// once.
double passing_bytes(const PricedPlan& priced, int64_t rank) {
  const ar::Config& config = priced.graph.config;
  const Training& training = priced.training;
  const auto tensor = static_cast<double>(priced.shape.tensor);
  const int64_t tokens = config.grid_height * config.grid_width;
  const auto rows = static_cast<double>(priced.shape.pictures * tokens);
  const bool gated = config.activation == "geglu";
  double hidden = rows * static_cast<double>(config.hidden) * (gated ? 2 : 1) / tensor;
  if (config.experts > 0 && config.routing != "static")
    hidden =
        std::max(hidden, expert_rows(config, tokens, priced.shape.pictures, priced.shape.expert) *
                             static_cast<double>(config.hidden));
  double bytes =
      rows * 2 * kStreamBytes * static_cast<double>(config.width) + training.compute_bytes * hidden;
  if (priced.plan.stages.back().decoder.size() > 0 && rank == priced.shape.ranks - 1)
    bytes += std::min(rows, static_cast<double>(training.loss_rows)) *
             static_cast<double>(config.codebook_size) / tensor * (8 + 2 * training.compute_bytes);
  return bytes;
}

}  // namespace

double rank_memory(const PricedPlan& priced, int64_t rank) {
  const LayerCost held = sum_of_rank(priced, rank);
  const Training& training = priced.training;
  const bool shard = priced.plan.shard_update && priced.shape.data > 1;
  const double own = shard ? 1 / static_cast<double>(priced.shape.data) : 1;
  const double always =
      held.weights * (kWeightBytes + own * (training.state_bytes + training.average_bytes) +
                      (shard ? own * kWeightBytes : 0));
  const double gradients = held.weights * kWeightBytes;
  // Gradients that are summed over "expert", and then the experts' own, in one tensor.
  const double summed =
      priced.shape.expert == 1
          ? 0
          : kWeightBytes * std::max(held.weights - held.expert_weights, held.expert_weights);
  // Of one pass alone they come as what is kept goes; else they are there from the first pass, or the exchange, on.
  const bool come_late =
      priced.shape.ranks == 1 && priced.shape.batches == 1 && priced.shape.data == 1;
  const double passes = kept_bytes(priced, rank) + passing_bytes(priced, rank);
  return always + std::max(passes + (come_late ? 0 : gradients), gradients + summed);
}

}  // namespace lexel::planner
