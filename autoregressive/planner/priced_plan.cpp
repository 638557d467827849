#include "autoregressive/planner/priced_plan.h"

namespace lexel::planner {

PlanShape::PlanShape(const parallel::Plan& plan)
    : data(plan.mesh.length("data")),
      ranks(plan.mesh.length("pipeline")),
      expert(plan.mesh.length("expert")),
      tensor(plan.mesh.length("tensor")),
      pictures(plan.batch / (data * expert * plan.micro_batches)),
      micro_batches(plan.micro_batches),
      rounds(plan.rounds),
      batches(static_cast<double>(plan.micro_batches)) {}

LayerCost& LayerCost::operator+=(const LayerCost& other) {
  forward_s += other.forward_s;
  backward_s += other.backward_s;
  again_s += other.again_s;
  kept += other.kept;
  weights += other.weights;
  expert_weights += other.expert_weights;
  for (const auto& [name, sent] : other.bytes) bytes[name] += sent;
  for (const auto& [name, sent] : other.again_bytes) again_bytes[name] += sent;
  return *this;
}

LayerCost sum_of(const std::vector<LayerCost>& blocks, const parallel::BlockRange& range) {
  LayerCost sum;
  for (int64_t i = range.begin; i < range.end; ++i) {
    const LayerCost& block = blocks[static_cast<size_t>(i)];
    sum.forward_s += block.forward_s;
    sum.backward_s += block.backward_s;
    sum.again_s += block.again_s;
    sum.kept += block.kept;
    sum.weights += block.weights;
    sum.expert_weights += block.expert_weights;
  }
  return sum;
}

LayerCost sum_of_rank(const PricedPlan& priced, int64_t rank) {
  LayerCost sum;
  const auto& stages = priced.plan.stages;
  for (size_t i = static_cast<size_t>(rank); i < stages.size();
       i += static_cast<size_t>(priced.shape.ranks)) {
    sum += sum_of(priced.costs.decoder, stages[i].decoder);
    sum += sum_of(priced.costs.encoder, stages[i].encoder);
  }
  return sum;
}

double border_bytes(const PricedPlan& priced, bool encoder) {
  const ar::Config& config = priced.graph.config;
  const double parts =
      priced.plan.residual == "split" ? static_cast<double>(priced.shape.tensor) : 1.0;
  const int64_t tokens = encoder ? config.max_text_tokens : config.grid_height * config.grid_width;
  return kStreamBytes * static_cast<double>(tokens * config.width * priced.shape.pictures) / parts;
}

}  // namespace lexel::planner
