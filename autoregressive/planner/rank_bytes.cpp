#include "autoregressive/planner/priced_plan.h"

namespace lexel::planner {
namespace {

/// Of the encoder's output, which goes from its last rank to all with decoder blocks, and what they want changed in it back.
double text_bytes(const PricedPlan& priced) {
  const ar::Config& config = priced.graph.config;
  return priced.training.compute_bytes *
         static_cast<double>(config.max_text_tokens * config.width * priced.shape.pictures);
}

/// How often a rank sends the text, or its gradient, for a micro-batch.
double text_messages(const PricedPlan& priced, int64_t rank) {
  const auto& stages = priced.plan.stages;
  const int64_t ranks = priced.shape.ranks;
  const auto holds = [&](int64_t r, parallel::BlockRange parallel::Stage::*stack) {
    for (size_t i = static_cast<size_t>(r); i < stages.size(); i += static_cast<size_t>(ranks))
      if ((stages[i].*stack).size() > 0) return true;
    return false;
  };
  int64_t end = 0;  // of the encoder
  for (int64_t r = 0; r < ranks; ++r)
    if (holds(r, &parallel::Stage::encoder)) end = r;
  if (rank != end) return holds(rank, &parallel::Stage::decoder) ? 1 : 0;
  double others = 0;
  for (int64_t r = 0; r < ranks; ++r)
    if (r != end && holds(r, &parallel::Stage::decoder)) ++others;
  return others;
}

/// Collectives of the layers, and messages between stages.
void add_passes(const PricedPlan& priced, int64_t rank, std::map<std::string, double>& bytes) {
  const PlanShape& shape = priced.shape;
  const auto last = static_cast<int64_t>(priced.plan.stages.size()) - 1;
  for (int64_t i = rank; i <= last; i += shape.ranks) {
    const parallel::Stage& stage = priced.plan.stages[static_cast<size_t>(i)];
    const auto send_all = [&](const std::vector<LayerCost>& blocks,
                              const parallel::BlockRange& range) {
      for (int64_t b = range.begin; b < range.end; ++b) {
        const LayerCost& block = blocks[static_cast<size_t>(b)];
        for (const auto& [name, sent] : block.bytes) bytes[name] += shape.batches * sent;
        if (!priced.plan.rematerialize) continue;
        for (const auto& [name, sent] : block.again_bytes) bytes[name] += shape.batches * sent;
      }
    };
    send_all(priced.costs.decoder, stage.decoder);
    send_all(priced.costs.encoder, stage.encoder);
    if (shape.ranks == 1) continue;
    const auto borders = [](int64_t at, int64_t end) {  // forward, backward
      return (at < end ? 1.0 : 0.0) + (at > 0 ? 1.0 : 0.0);
    };
    bytes["send"] += shape.batches * borders(i, last) * border_bytes(priced, false);
    if (priced.graph.has_text() && i < shape.ranks)
      bytes["send"] += shape.batches * borders(i, shape.ranks - 1) * border_bytes(priced, true);
  }
  if (shape.ranks > 1 && priced.graph.has_text())
    bytes["send"] += shape.batches * text_messages(priced, rank) * text_bytes(priced);
}

}  // namespace

std::map<std::string, double> rank_bytes(const PricedPlan& priced, int64_t rank) {
  std::map<std::string, double> bytes;
  add_passes(priced, rank, bytes);
  const LayerCost held = sum_of_rank(priced, rank);
  const auto ring = [](double values, int64_t ranks) {
    const auto n = static_cast<double>(ranks);
    return kWeightBytes * values * (n - 1) / n;
  };
  // An expert's gradient has come together in the all-to-all.
  if (priced.shape.expert > 1)
    bytes["all_reduce"] += 2 * ring(held.weights - held.expert_weights, priced.shape.expert);
  if (priced.shape.data == 1) return bytes;
  const double once = ring(held.weights, priced.shape.data);
  if (priced.plan.shard_update) {
    bytes["reduce_scatter"] += once;
    bytes["all_gather"] += once;
  } else {
    bytes["all_reduce"] += 2 * once;
  }
  return bytes;
}

}  // namespace lexel::planner
