#include "autoregressive/planner/prediction.h"

#include <algorithm>

#include "autoregressive/planner/layer_cost.h"
#include "autoregressive/planner/priced_plan.h"

namespace lexel::planner {

using parallel::Plan;

struct Predictor::State {
  Machine machine;
  Training training;
  LayerGraph graph;
  LayerCosts costs;

  State(const ar::Config& c, const Machine& m, const Training& t)
      : machine(m), training(t), graph(layer_graph(c, t)), costs(graph, machine, training) {}

  PricedPlan priced(const Plan& plan) {
    return {graph, machine, training, plan, PlanShape(plan), costs.of(plan)};
  }
};

Predictor::Predictor(const ar::Config& config, const Machine& machine, const Training& training)
    : state_(std::make_unique<State>(config, machine, training)) {}
Predictor::~Predictor() = default;

const LayerGraph& Predictor::graph() const { return state_->graph; }
const Machine& Predictor::machine() const { return state_->machine; }
const Training& Predictor::training() const { return state_->training; }
const ModelCost& Predictor::costs(const Plan& plan) const { return state_->costs.of(plan); }

double Predictor::memory(const Plan& plan) const {
  const PricedPlan priced = state_->priced(plan);
  double most = 0;
  for (int64_t rank = 0; rank < priced.shape.ranks; ++rank)
    most = std::max(most, rank_memory(priced, rank));
  return most;
}

double Predictor::lower_bound(const Plan& plan) const {
  const PlanShape shape(plan);
  const ModelCost& costs = state_->costs.of(plan);
  const auto total = [&](const std::vector<LayerCost>& blocks) {
    double sum = 0;
    for (const LayerCost& block : blocks)
      sum += block.forward_s + block.backward_s + (plan.rematerialize ? block.again_s : 0);
    return sum / static_cast<double>(shape.ranks);
  };
  const double encoder = total(costs.encoder), decoder = total(costs.decoder);
  // Equal stages without sends. The decoder's ramp may be filled with the encoder's work, never with its own.
  const double ramp = static_cast<double>(shape.ranks - 1);
  return std::max((shape.batches + ramp / static_cast<double>(shape.rounds)) * decoder,
                  shape.batches * (encoder + decoder));
}

parallel::Prediction Predictor::predict(const Plan& plan) const {
  parallel::check_plan(plan, state_->graph.config);
  const PricedPlan priced = state_->priced(plan);
  const PlanShape& shape = priced.shape;
  const ChunkTimes times = chunk_times(priced);
  const Replay run = replay_passes(priced, times);
  parallel::Prediction predicted;
  double busy = 0, most = 0;
  for (int64_t rank = 0; rank < shape.ranks; ++rank) {
    const auto r = static_cast<size_t>(rank);
    double last_backward = 0;
    for (size_t i = r; i < plan.stages.size(); i += static_cast<size_t>(shape.ranks)) {
      last_backward += times.decoder_backward[i];
      if (i < times.encoder_backward.size()) last_backward += times.encoder_backward[i];
    }
    predicted.ranks.push_back({rank_memory(priced, rank), run.busy[r]});
    predicted.step_s =
        std::max(predicted.step_s, run.finish[r] + update_seconds(priced, rank, last_backward));
    busy += run.busy[r];
    const auto bytes = rank_bytes(priced, rank);
    double all = 0;
    for (const auto& [name, sent] : bytes) all += sent;
    if (rank == 0 || all > most) predicted.bytes = bytes;
    most = std::max(most, all);
  }
  predicted.bubble = std::max(0.0, 1 - busy / (static_cast<double>(shape.ranks) * run.time));
  return predicted;
}

}  // namespace lexel::planner
