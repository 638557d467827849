#include "autoregressive/planner/layer_cost.h"

#include <numeric>

#include "autoregressive/model.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/layer_collectives.h"
#include "kernels/check.h"

namespace lexel::planner {
namespace {

using parallel::LayerCollective;
using parallel::Plan;
using Kind = ModelOperator::Kind;

/// The layer that a weight or collective belongs to: a block of a stack, those beside the blocks with its first or last.
struct Place {
  bool encoder = false;
  size_t block = 0;
};

Place place_of(const std::string& name, const LayerGraph& graph) {
  const bool encoder = name.starts_with("encoder.") || name.starts_with("text_");
  const size_t last = (encoder ? graph.encoder.size() : graph.decoder.size()) - 1;
  const size_t blocks = name.find(".blocks.");
  if (blocks != std::string::npos)
    return {encoder, static_cast<size_t>(std::stoul(name.substr(blocks + 8)))};
  const bool end = name.starts_with("encoder.norm") || name.starts_with("encoder.output") ||
                   name.starts_with("decoder.norm") || name.starts_with("softmax");
  return {encoder, end ? last : 0};
}

LayerCost& at(ModelCost& costs, const Place& place) {
  return (place.encoder ? costs.encoder : costs.decoder)[place.block];
}

/// Bytes that leave a rank, rounded as parallel::Group counts them.
double ring_bytes(int64_t whole, int64_t ranks, int64_t rounds) {
  return static_cast<double>(rounds * (ranks - 1) * whole / ranks);
}

}  // namespace

LayerCosts::LayerCosts(const LayerGraph& graph, const Machine& machine, const Training& training)
    : graph_(graph), machine_(machine), training_(training) {
  ar::Model layout = ar::model_layout(graph.config);
  weights_ = ar::parameters(layout);
}

/// Computing and what is kept of one layer; `name` of its block or "" beside the blocks.
LayerCost LayerCosts::compute(const Layer& layer, const std::string& name, const Plan& plan,
                              const PlanShape& shape) const {
  LayerCost cost;
  bool attention_split = false;
  const auto pictures = static_cast<double>(shape.pictures);
  const double stream_parts = plan.residual == "split" ? static_cast<double>(shape.tensor) : 1;
  for (const ModelOperator& op : layer.operators) {
    if (op.kind == Kind::kExperts) {  // each rank of "expert" has as many rows, of fewer experts
      const double filled = expert_rows(graph_.config, op.tokens, shape.pictures, shape.expert) /
                            expert_rows(graph_.config, op.tokens, 1, 1);
      cost.forward_s += op.flops * filled / machine_.flops;
      cost.kept += filled * op.kept_whole + pictures * op.kept_stream / stream_parts +
                   op.kept_once / static_cast<double>(shape.expert);
      continue;
    }
    const std::string weight = (name.empty() ? op.name : name + "." + op.name) + ".weight";
    const bool attention = op.kind == Kind::kAttention;
    const bool split = attention ? attention_split : placement_of(plan, weight).split;
    if (!attention) attention_split = split;
    const double parts = split ? static_cast<double>(shape.tensor) : 1.0;
    cost.forward_s += op.flops * pictures / parts / machine_.flops;
    cost.kept +=
        pictures * (op.kept_split / parts + op.kept_stream / stream_parts + op.kept_whole) +
        op.kept_once / parts;
  }
  cost.backward_s = 2 * cost.forward_s;
  cost.again_s = cost.forward_s;
  return cost;
}

void LayerCosts::add_weights(ModelCost& costs, const Plan& plan) const {
  for (const Parameter& weight : weights_) {
    double values = std::accumulate(weight.shape.begin(), weight.shape.end(), 1.0,
                                    [](double a, int64_t b) { return a * static_cast<double>(b); });
    const parallel::Placement placement = placement_of(plan, weight.name);
    if (placement.split) values /= static_cast<double>(plan.mesh.length(placement.axis));
    LayerCost& layer = at(costs, place_of(weight.name, graph_));
    layer.weights += values;
    if (placement.split && placement.axis == "expert") layer.expert_weights += values;
  }
}

void LayerCosts::add_tensor_collectives(ModelCost& costs, const Plan& plan,
                                        const PlanShape& shape) const {
  const ar::Config& config = graph_.config;
  const parallel::Sharding sharding = parallel::sharding_of(config, plan);
  const Link& link = link_of(machine_, 1, shape.tensor);
  parallel::PassShape pass;
  pass.batch = shape.pictures;
  pass.tokens = config.grid_height * config.grid_width;
  pass.text_tokens = config.max_text_tokens;
  pass.compute = training_.compute_bytes < 4 ? at::kBFloat16 : at::kFloat;
  const auto n = static_cast<double>(shape.tensor);
  for (const LayerCollective& c : parallel::collectives_of(config, sharding)) {
    const parallel::Traffic traffic = parallel::expected_traffic({c}, "tensor", shape.tensor, pass);
    const auto& [name, count] = *traffic.by_collective.begin();
    const auto calls = static_cast<double>(count.calls), bytes = static_cast<double>(count.bytes);
    if (calls == 0) continue;
    const double sent = bytes / calls;
    const double whole = n / (n - 1) * sent / (name == "all_reduce" ? 2 : 1);
    const double seconds =
        calls * group_seconds(machine_, link, {name, sent, whole, false}, shape.tensor);
    LayerCost& layer = at(costs, place_of(c.layer, graph_));
    (c.is_backward ? layer.backward_s : layer.forward_s) += seconds;
    layer.bytes[name] += bytes;
    if (!c.is_again) continue;
    layer.again_s += seconds;
    layer.again_bytes[name] += bytes;
  }
}

/// Two all-to-alls forward, two backward and two where the block is computed again: a rank's rows for all experts, of which the
/// share of the other ranks is sent. Routed by task ranks agree on the number of rows first.
void LayerCosts::add_expert_collectives(LayerCost& block, int64_t tokens,
                                        const PlanShape& shape) const {
  const ar::Config& config = graph_.config;
  const int64_t ranks = shape.expert;
  const Link& link = link_of(machine_, shape.tensor, ranks);
  const auto numbers =
      static_cast<int64_t>(expert_rows(config, tokens, shape.pictures, ranks)) * config.width;
  const int64_t whole = numbers * static_cast<int64_t>(training_.compute_bytes);
  const double sent = ring_bytes(whole, ranks, 1);
  const GroupCall call{"all_to_all", sent, static_cast<double>(whole), false};
  const double each = group_seconds(machine_, link, call, ranks);
  double agree_s = 0;
  if (config.routing == "task") {
    const double number = ring_bytes(8, ranks, 2);
    agree_s = group_seconds(machine_, link, {"all_reduce", number, 8, true}, ranks);
    block.bytes["all_reduce"] += number;
    block.again_bytes["all_reduce"] += number;
  }
  block.forward_s += 2 * each + agree_s;
  block.backward_s += 2 * each;
  block.again_s += 2 * each + agree_s;
  block.bytes["all_to_all"] += 4 * sent;
  block.again_bytes["all_to_all"] += 2 * sent;
}

ModelCost LayerCosts::make(const Plan& plan) const {
  const PlanShape shape(plan);
  ModelCost costs;
  const auto add_blocks = [&](const char* stack, const std::vector<size_t>& blocks,
                              std::vector<LayerCost>& stack_costs) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      const Layer& layer = graph_.layers[blocks[i]];
      stack_costs.push_back(compute(layer, concat(stack, ".blocks.", i), plan, shape));
      if (shape.expert > 1 && layer.has_experts())
        add_expert_collectives(stack_costs.back(), layer.tokens, shape);
    }
  };
  add_blocks("encoder", graph_.encoder, costs.encoder);
  add_blocks("decoder", graph_.decoder, costs.decoder);
  const auto beside = [&](size_t layer, LayerCost& block) {
    LayerCost cost = compute(graph_.layers[layer], "", plan, shape);
    cost.again_s = 0;
    block += cost;
  };
  if (graph_.has_text()) {
    beside(graph_.text_tables, costs.encoder.front());
    beside(graph_.encoder_norm, costs.encoder.back());
  }
  beside(graph_.tables, costs.decoder.front());
  beside(graph_.loss, costs.decoder.back());
  add_weights(costs, plan);
  if (shape.tensor > 1) add_tensor_collectives(costs, plan, shape);
  return costs;
}

const ModelCost& LayerCosts::of(const Plan& plan) {
  const PlanShape shape(plan);
  std::string key =
      concat(shape.pictures, ' ', shape.expert, ' ', shape.tensor, ' ', plan.residual);
  for (const parallel::Annotation& a : plan.annotations)
    key += " " + a.pattern + (a.placement.split ? concat(a.placement.dim) : std::string("-"));
  const auto found = known_.find(key);
  if (found != known_.end()) return found->second;
  return known_.emplace(key, make(plan)).first->second;
}

}  // namespace lexel::planner
