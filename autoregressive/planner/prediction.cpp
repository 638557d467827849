#include "autoregressive/planner/prediction.h"

#include <algorithm>
#include <numeric>

#include "autoregressive/model.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/layer_collectives.h"
#include "kernels/check.h"
#include "kernels/parameters.h"

namespace lexel::planner {
namespace {

using parallel::LayerCollective;
using parallel::Plan;

constexpr double kWeightBytes = 4, kStreamBytes = 4;  // float32
constexpr double kUpdateBytes = 28;  // that an update of AdamW moves for each weight
constexpr int64_t kReplayed = 8000;  // actions of the longest schedule that is carried out in full

void add(std::map<std::string, double>& to, const std::map<std::string, double>& from,
         double times = 1) {
  for (const auto& [name, bytes] : from) to[name] += times * bytes;
}

/// The layer that a weight or collective belongs to: a block of a stack, those beside the blocks with its first or last.
struct Place {
  bool encoder = false;
  size_t block = 0;
  bool beside = false;  // not of the block itself
};

Place place_of(const std::string& name, const LayerGraph& graph) {
  const bool encoder = name.starts_with("encoder.") || name.starts_with("text_");
  const size_t last = (encoder ? graph.encoder.size() : graph.decoder.size()) - 1;
  const size_t blocks = name.find(".blocks.");
  if (blocks != std::string::npos)
    return {encoder, static_cast<size_t>(std::stoul(name.substr(blocks + 8))), false};
  const bool end = name.starts_with("encoder.norm") || name.starts_with("encoder.output") ||
                   name.starts_with("decoder.norm") || name.starts_with("softmax");
  return {encoder, end ? last : 0, true};
}

/// Shape of a plan in numbers.
struct Shape {
  int64_t data, ranks, tensor, pictures, micro_batches, rounds;
  double batches;  // micro_batches

  explicit Shape(const Plan& plan)
      : data(plan.mesh.length("data")),
        ranks(plan.mesh.length("pipeline")),
        tensor(plan.mesh.length("tensor")),
        pictures(plan.batch / (plan.mesh.length("data") * plan.micro_batches)),
        micro_batches(plan.micro_batches),
        rounds(plan.rounds),
        batches(static_cast<double>(plan.micro_batches)) {}
};

/// Times, memory and weights of some blocks; without what they send.
LayerCost sum_of(const std::vector<LayerCost>& blocks, const parallel::BlockRange& range) {
  LayerCost sum;
  for (int64_t i = range.begin; i < range.end; ++i) {
    const LayerCost& block = blocks[static_cast<size_t>(i)];
    sum.forward_s += block.forward_s;
    sum.backward_s += block.backward_s;
    sum.again_s += block.again_s;
    sum.kept += block.kept;
    sum.weights += block.weights;
  }
  return sum;
}

}  // namespace

LayerCost& LayerCost::operator+=(const LayerCost& other) {
  forward_s += other.forward_s;
  backward_s += other.backward_s;
  again_s += other.again_s;
  kept += other.kept;
  weights += other.weights;
  add(bytes, other.bytes);
  add(again_bytes, other.again_bytes);
  return *this;
}

struct Predictor::State {
  ar::Config config;
  Machine machine;
  Training training;
  LayerGraph graph;
  ParameterList weights;
  std::string fingerprint;
  std::map<std::string, ModelCost> known;

  State(const ar::Config& c, const Machine& m, const Training& t)
      : config(c), machine(m), training(t), graph(layer_graph(c, t)) {
    ar::Model layout = ar::model_layout(config);
    weights = ar::parameters(layout);
    fingerprint = parallel::model_fingerprint(config);
  }

  LayerCost& at(ModelCost& costs, const Place& place) const {
    return (place.encoder ? costs.encoder : costs.decoder)[place.block];
  }

  /// Computing and what is kept of one layer; `name` of its block or "" beside the blocks.
  LayerCost compute(const Layer& layer, const std::string& name, const Plan& plan,
                    const Shape& shape) const {
    LayerCost cost;
    bool attention_split = false;
    for (const ModelOperator& op : layer.operators) {
      const std::string weight = (name.empty() ? op.name : name + "." + op.name) + ".weight";
      const bool attention = op.kind == ModelOperator::Kind::kAttention;
      const bool split = attention ? attention_split : placement_of(plan, weight).split;
      if (!attention) attention_split = split;
      const double parts = split ? static_cast<double>(shape.tensor) : 1.0;
      const double stream_parts = plan.residual == "split" ? static_cast<double>(shape.tensor) : 1;
      const auto pictures = static_cast<double>(shape.pictures);
      cost.forward_s += op.flops * pictures / parts / machine.flops;
      cost.kept +=
          pictures * (op.kept_split / parts + op.kept_stream / stream_parts + op.kept_whole) +
          op.kept_once / parts;
    }
    cost.backward_s = 2 * cost.forward_s;
    cost.again_s = cost.forward_s;
    return cost;
  }

  void add_collectives(ModelCost& costs, const Plan& plan, const Shape& shape) const {
    const parallel::Sharding sharding = parallel::sharding_of(config, plan);
    const DeviceMesh mesh{{1, shape.tensor}, {Link{}, link_of(machine, 1, shape.tensor)}, false};
    parallel::PassShape pass;
    pass.batch = shape.pictures;
    pass.tokens = config.grid_height * config.grid_width;
    pass.text_tokens = config.max_text_tokens;
    pass.compute = training.compute_bytes < 4 ? at::kBFloat16 : at::kFloat;
    for (const LayerCollective& c : parallel::collectives_of(config, sharding)) {
      const parallel::Traffic traffic =
          parallel::expected_traffic({c}, "tensor", shape.tensor, pass);
      const auto& [name, count] = *traffic.by_collective.begin();
      // In a ring an all-reduce sends 2 (n-1)/n of its bytes, the others (n-1)/n: the link's beta is of what is sent.
      const Link& link = mesh.links[1];
      const double seconds = static_cast<double>(count.calls) * link.alpha +
                             link.beta * static_cast<double>(count.bytes);
      LayerCost& layer = at(costs, place_of(c.layer, graph));
      (c.is_backward ? layer.backward_s : layer.forward_s) += seconds;
      layer.bytes[name] += static_cast<double>(count.bytes);
      if (!c.is_again) continue;
      layer.again_s += seconds;
      layer.again_bytes[name] += static_cast<double>(count.bytes);
    }
  }

  ModelCost make_costs(const Plan& plan, const Shape& shape) const {
    ModelCost costs;
    for (size_t i = 0; i < graph.encoder.size(); ++i)
      costs.encoder.push_back(
          compute(graph.layers[graph.encoder[i]], concat("encoder.blocks.", i), plan, shape));
    for (size_t i = 0; i < graph.decoder.size(); ++i)
      costs.decoder.push_back(
          compute(graph.layers[graph.decoder[i]], concat("decoder.blocks.", i), plan, shape));
    const auto beside = [&](size_t layer, LayerCost& block) {
      LayerCost cost = compute(graph.layers[layer], "", plan, shape);
      cost.again_s = 0;
      block += cost;
    };
    if (graph.has_text()) {
      beside(graph.text_tables, costs.encoder.front());
      beside(graph.encoder_norm, costs.encoder.back());
    }
    beside(graph.tables, costs.decoder.front());
    beside(graph.loss, costs.decoder.back());
    for (const Parameter& weight : weights) {
      double values =
          std::accumulate(weight.shape.begin(), weight.shape.end(), 1.0,
                          [](double a, int64_t b) { return a * static_cast<double>(b); });
      if (placement_of(plan, weight.name).split) values /= static_cast<double>(shape.tensor);
      at(costs, place_of(weight.name, graph)).weights += values;
    }
    if (shape.tensor > 1) add_collectives(costs, plan, shape);
    return costs;
  }

  const ModelCost& costs(const Plan& plan) {
    const Shape shape(plan);
    std::string key = concat(shape.pictures, ' ', shape.tensor, ' ', plan.residual);
    for (const parallel::Annotation& a : plan.annotations)
      key += " " + a.pattern + (a.placement.split ? concat(a.placement.dim) : std::string("-"));
    const auto found = known.find(key);
    if (found != known.end()) return found->second;
    return known.emplace(key, make_costs(plan, shape)).first->second;
  }

  // --- one rank -------------------------------------------------------------------------------------------------------

  /// Bytes of the stream at a chunk's border, for a micro-batch.
  double border_bytes(const Plan& plan, const Shape& shape, bool encoder) const {
    const double parts = plan.residual == "split" ? static_cast<double>(shape.tensor) : 1.0;
    const int64_t tokens =
        encoder ? config.max_text_tokens : config.grid_height * config.grid_width;
    return kStreamBytes * static_cast<double>(tokens * config.width * shape.pictures) / parts;
  }

  /// Of the encoder's output, which goes from its last rank to all with decoder blocks, and what they want changed in it back.
  double text_bytes(const Shape& shape) const {
    return training.compute_bytes *
           static_cast<double>(config.max_text_tokens * config.width * shape.pictures);
  }

  double rank_memory(const Plan& plan, const Shape& shape, const ModelCost& costs,
                     int64_t rank) const {
    double weights_held = 0, kept = 0, largest = 0;
    const auto tensor = static_cast<double>(shape.tensor);
    const double border[2] = {border_bytes(plan, shape, false), border_bytes(plan, shape, true)};
    const auto kind = parallel::parse_schedule(plan.schedule);
    const parallel::PipelineShape pipeline{shape.ranks, shape.micro_batches, shape.rounds};
    const double pairs =  // of decoder chunks on this rank, forward done and backward not
        shape.ranks == 1 ? 1.0
                         : static_cast<double>(parallel::peak_by_formula(kind, pipeline, rank)) /
                               static_cast<double>(shape.rounds);
    for (size_t i = static_cast<size_t>(rank); i < plan.stages.size();
         i += static_cast<size_t>(shape.ranks)) {
      for (const bool encoder : {true, false}) {
        const parallel::BlockRange& range =
            encoder ? plan.stages[i].encoder : plan.stages[i].decoder;
        const auto& blocks = encoder ? costs.encoder : costs.decoder;
        const LayerCost sum = sum_of(blocks, range);
        weights_held += sum.weights;
        if (range.size() == 0) continue;
        // The encoder's forwards are all done before its first backward.
        const double live = shape.ranks == 1 ? 1.0 : encoder ? shape.batches : pairs;
        if (!plan.rematerialize) {
          kept += live * sum.kept;
        } else if (shape.ranks > 1) {  // a chunk's border each, and all of one chunk
          kept += live * border[encoder];
          largest = std::max(largest, sum.kept);
        } else {  // a block's border each, and all of one block
          kept += static_cast<double>(range.size()) * border[encoder];
          for (int64_t b = range.begin; b < range.end; ++b)
            largest = std::max(largest, blocks[static_cast<size_t>(b)].kept);
        }
      }
    }
    const auto data = static_cast<double>(shape.data);
    const bool shard = plan.shard_update && shape.data > 1;
    const double own = shard ? 1 / data : 1;
    double bytes =
        weights_held * (2 * kWeightBytes + own * (training.state_bytes + training.average_bytes) +
                        (shard ? own * kWeightBytes : 0));
    bytes += kept + largest;
    // Gradients of what is kept, for the widest layer at a time, and the logits that exist at once.
    const auto rows = static_cast<double>(shape.pictures * config.grid_height * config.grid_width);
    bytes += rows * (2 * kStreamBytes * static_cast<double>(config.width) +
                     2 * training.compute_bytes * static_cast<double>(config.hidden) / tensor);
    if (plan.stages.back().decoder.size() > 0 && rank == shape.ranks - 1)
      bytes += std::min(rows, static_cast<double>(training.loss_rows)) *
               static_cast<double>(config.codebook_size) / tensor *
               (8 + 2 * training.compute_bytes);
    return bytes;
  }

  /// Gradients over "data", the update and the gathering of the new weights, after a backward pass of `behind_s` to hide behind.
  double update_seconds(const Plan& plan, const Shape& shape, double weights_held,
                        double behind_s) const {
    const double moved = kUpdateBytes * weights_held / machine.memory_bandwidth;
    if (shape.data == 1) return moved;
    const int64_t stride = shape.ranks * shape.tensor;
    const DeviceMesh mesh{{1, shape.data}, {Link{}, link_of(machine, stride, shape.data)}, false};
    const double bytes = kWeightBytes * weights_held;
    const auto exposed = [&](double seconds) {
      return seconds - std::min(seconds * machine.overlap, behind_s);
    };
    if (!plan.shard_update)
      return exposed(cost(mesh, Transfer{Collective::kAllReduce, 1, bytes})) + moved;
    return exposed(cost(mesh, Transfer{Collective::kReduceScatter, 1, bytes})) +
           moved / static_cast<double>(shape.data) +
           cost(mesh, Transfer{Collective::kAllGather, 1, bytes});
  }

  ChunkTimes chunk_times(const Plan& plan, const Shape& shape, const ModelCost& costs) const {
    ChunkTimes times;
    const Link& link = link_of(machine, shape.tensor, shape.ranks);
    times.encoder_send = link.alpha + link.beta * border_bytes(plan, shape, true);
    times.decoder_send = link.alpha + link.beta * border_bytes(plan, shape, false);
    for (size_t i = 0; i < plan.stages.size(); ++i) {
      const auto put = [&](const LayerCost& sum, std::vector<double>& forward,
                           std::vector<double>& backward) {
        forward.push_back(sum.forward_s);
        backward.push_back(sum.backward_s + (plan.rematerialize ? sum.again_s : 0));
      };
      if (graph.has_text() && i < static_cast<size_t>(shape.ranks))
        put(sum_of(costs.encoder, plan.stages[i].encoder), times.encoder_forward,
            times.encoder_backward);
      put(sum_of(costs.decoder, plan.stages[i].decoder), times.decoder_forward,
          times.decoder_backward);
    }
    return times;
  }

  Replay replay_all(const Plan& plan, const Shape& shape, const ChunkTimes& times) const {
    const auto kind = parallel::parse_schedule(plan.schedule);
    const auto run = [&](int64_t micro_batches) {
      auto schedule = parallel::make_schedule(kind, {shape.ranks, micro_batches, shape.rounds});
      if (graph.has_text()) schedule = parallel::with_encoder(schedule);
      return replay(schedule, times);
    };
    const int64_t actions = 2 * shape.micro_batches * shape.ranks * (shape.rounds + 1);
    // Long schedules repeat themselves: two short ones tell what another segment of S micro-batches adds.
    const int64_t few =
        std::max<int64_t>(1, kReplayed / (4 * shape.ranks * (shape.rounds + 1)) / shape.ranks) *
        shape.ranks;
    if (actions <= kReplayed || 2 * few >= shape.micro_batches) return run(shape.micro_batches);
    const Replay one = run(few);
    Replay two = run(2 * few);
    const double more =
        static_cast<double>(shape.micro_batches - 2 * few) / static_cast<double>(few);
    two.time += more * (two.time - one.time);
    for (size_t s = 0; s < two.finish.size(); ++s) {
      two.finish[s] += more * (two.finish[s] - one.finish[s]);
      two.busy[s] += more * (two.busy[s] - one.busy[s]);
    }
    return two;
  }

  /// What each rank computes in a step, without a pipeline's gaps.
  Replay in_a_row(const Shape& shape, const ChunkTimes& times) const {
    double sum = 0;
    for (const auto* list : {&times.encoder_forward, &times.encoder_backward,
                             &times.decoder_forward, &times.decoder_backward})
      for (const double time : *list) sum += time;
    return {shape.batches * sum, {shape.batches * sum}, {shape.batches * sum}};
  }

  /// How often a rank sends the text, or its gradient, for a micro-batch.
  double text_messages(const Plan& plan, const Shape& shape, int64_t rank) const {
    const auto holds = [&](int64_t r, parallel::BlockRange parallel::Stage::*stack) {
      for (size_t i = static_cast<size_t>(r); i < plan.stages.size();
           i += static_cast<size_t>(shape.ranks))
        if ((plan.stages[i].*stack).size() > 0) return true;
      return false;
    };
    int64_t end = 0;  // of the encoder
    for (int64_t r = 0; r < shape.ranks; ++r)
      if (holds(r, &parallel::Stage::encoder)) end = r;
    if (rank != end) return holds(rank, &parallel::Stage::decoder) ? 1 : 0;
    double others = 0;
    for (int64_t r = 0; r < shape.ranks; ++r)
      if (r != end && holds(r, &parallel::Stage::decoder)) ++others;
    return others;
  }

  std::map<std::string, double> rank_bytes(const Plan& plan, const Shape& shape,
                                           const ModelCost& costs, int64_t rank) const {
    std::map<std::string, double> bytes;
    double weights_held = 0;
    const auto last = static_cast<int64_t>(plan.stages.size()) - 1;
    for (int64_t i = rank; i <= last; i += shape.ranks) {
      const parallel::Stage& stage = plan.stages[static_cast<size_t>(i)];
      const auto send_all = [&](const std::vector<LayerCost>& blocks,
                                const parallel::BlockRange& range) {
        for (int64_t b = range.begin; b < range.end; ++b) {
          const LayerCost& block = blocks[static_cast<size_t>(b)];
          weights_held += block.weights;
          add(bytes, block.bytes, shape.batches);
          if (plan.rematerialize) add(bytes, block.again_bytes, shape.batches);
        }
      };
      send_all(costs.decoder, stage.decoder);
      send_all(costs.encoder, stage.encoder);
      if (shape.ranks == 1) continue;
      const auto borders = [](int64_t at, int64_t end) {  // forward, backward
        return (at < end ? 1.0 : 0.0) + (at > 0 ? 1.0 : 0.0);
      };
      bytes["send"] += shape.batches * borders(i, last) * border_bytes(plan, shape, false);
      if (graph.has_text() && i < shape.ranks)
        bytes["send"] +=
            shape.batches * borders(i, shape.ranks - 1) * border_bytes(plan, shape, true);
    }
    if (shape.ranks > 1 && graph.has_text())
      bytes["send"] += shape.batches * text_messages(plan, shape, rank) * text_bytes(shape);
    if (shape.data == 1) return bytes;
    const auto n = static_cast<double>(shape.data);
    const double once = kWeightBytes * weights_held * (n - 1) / n;
    if (plan.shard_update) {
      bytes["reduce_scatter"] += once;
      bytes["all_gather"] += once;
    } else {
      bytes["all_reduce"] += 2 * once;
    }
    return bytes;
  }
};

Predictor::Predictor(const ar::Config& config, const Machine& machine, const Training& training)
    : state_(std::make_unique<State>(config, machine, training)) {}
Predictor::~Predictor() = default;

const LayerGraph& Predictor::graph() const { return state_->graph; }
const Machine& Predictor::machine() const { return state_->machine; }
const Training& Predictor::training() const { return state_->training; }
const ModelCost& Predictor::costs(const Plan& plan) const { return state_->costs(plan); }

double Predictor::memory(const Plan& plan) const {
  const Shape shape(plan);
  const ModelCost& costs = state_->costs(plan);
  double most = 0;
  for (int64_t rank = 0; rank < shape.ranks; ++rank)
    most = std::max(most, state_->rank_memory(plan, shape, costs, rank));
  return most;
}

double Predictor::lower_bound(const Plan& plan) const {
  const Shape shape(plan);
  const ModelCost& costs = state_->costs(plan);
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
  parallel::check_plan(plan, state_->config);
  const Shape shape(plan);
  const ModelCost& costs = state_->costs(plan);
  const ChunkTimes times = state_->chunk_times(plan, shape, costs);
  const Replay run =
      shape.ranks == 1 ? state_->in_a_row(shape, times) : state_->replay_all(plan, shape, times);
  parallel::Prediction predicted;
  double busy = 0, most = 0;
  for (int64_t rank = 0; rank < shape.ranks; ++rank) {
    const auto r = static_cast<size_t>(rank);
    double weights_held = 0, last_backward = 0;
    for (size_t i = r; i < plan.stages.size(); i += static_cast<size_t>(shape.ranks)) {
      weights_held += sum_of(costs.decoder, plan.stages[i].decoder).weights;
      if (graph().has_text()) weights_held += sum_of(costs.encoder, plan.stages[i].encoder).weights;
      last_backward += times.decoder_backward[i];
      if (i < times.encoder_backward.size()) last_backward += times.encoder_backward[i];
    }
    predicted.ranks.push_back({state_->rank_memory(plan, shape, costs, rank), run.busy[r]});
    predicted.step_s =
        std::max(predicted.step_s,
                 run.finish[r] + state_->update_seconds(plan, shape, weights_held, last_backward));
    busy += run.busy[r];
    const auto bytes = state_->rank_bytes(plan, shape, costs, rank);
    double all = 0;
    for (const auto& [name, sent] : bytes) all += sent;
    if (rank == 0 || all > most) predicted.bytes = bytes;
    most = std::max(most, all);
  }
  predicted.bubble = std::max(0.0, 1 - busy / (static_cast<double>(shape.ranks) * run.time));
  return predicted;
}

}  // namespace lexel::planner
