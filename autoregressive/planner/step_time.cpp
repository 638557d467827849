#include <algorithm>

#include "autoregressive/parallel/pipeline_schedule.h"
#include "autoregressive/planner/priced_plan.h"

namespace lexel::planner {
namespace {

constexpr double kUpdateBytes = 28;  // that an update of AdamW moves for each weight
constexpr double kMeanBytes =
    24;  // that a mean over "expert" moves for each: together, divided, back
constexpr int64_t kReplayed = 8000;  // actions of the longest schedule that is carried out in full

Replay replay_pipeline(const PricedPlan& priced, const ChunkTimes& times) {
  const PlanShape& shape = priced.shape;
  const auto kind = parallel::parse_schedule(priced.plan.schedule);
  const auto run = [&](int64_t micro_batches) {
    auto schedule = parallel::make_schedule(kind, {shape.ranks, micro_batches, shape.rounds});
    if (priced.graph.has_text()) schedule = parallel::with_encoder(schedule);
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
  const double more = static_cast<double>(shape.micro_batches - 2 * few) / static_cast<double>(few);
  two.time += more * (two.time - one.time);
  for (size_t s = 0; s < two.finish.size(); ++s) {
    two.finish[s] += more * (two.finish[s] - one.finish[s]);
    two.busy[s] += more * (two.busy[s] - one.busy[s]);
  }
  return two;
}

/// Gradients to means over "expert".
double expert_mean_seconds(const PricedPlan& priced, const LayerCost& held) {
  const int64_t ranks = priced.shape.expert;
  if (ranks == 1) return 0;
  const Link& link = link_of(priced.machine, priced.shape.tensor, ranks);
  const double bytes = kWeightBytes * (held.weights - held.expert_weights);
  const auto n = static_cast<double>(ranks);
  return group_seconds(priced.machine, link, {"all_reduce", 2 * (n - 1) / n * bytes, bytes, true},
                       ranks) +
         kMeanBytes * held.weights / priced.machine.memory_bandwidth;
}

}  // namespace

ChunkTimes chunk_times(const PricedPlan& priced) {
  const PlanShape& shape = priced.shape;
  ChunkTimes times;
  const Link& link = link_of(priced.machine, shape.expert * shape.tensor, shape.ranks);
  times.encoder_send = link.alpha + link.beta * border_bytes(priced, true);
  times.decoder_send = link.alpha + link.beta * border_bytes(priced, false);
  for (size_t i = 0; i < priced.plan.stages.size(); ++i) {
    const parallel::Stage& stage = priced.plan.stages[i];
    const auto put = [&](const LayerCost& sum, std::vector<double>& forward,
                         std::vector<double>& backward) {
      forward.push_back(sum.forward_s);
      backward.push_back(sum.backward_s + (priced.plan.rematerialize ? sum.again_s : 0));
    };
    if (priced.graph.has_text() && i < static_cast<size_t>(shape.ranks))
      put(sum_of(priced.costs.encoder, stage.encoder), times.encoder_forward,
          times.encoder_backward);
    put(sum_of(priced.costs.decoder, stage.decoder), times.decoder_forward, times.decoder_backward);
  }
  return times;
}

Replay replay_passes(const PricedPlan& priced, const ChunkTimes& times) {
  if (priced.shape.ranks > 1) return replay_pipeline(priced, times);
  double sum = 0;
  for (const auto* list : {&times.encoder_forward, &times.encoder_backward, &times.decoder_forward,
                           &times.decoder_backward})
    for (const double time : *list) sum += time;
  const double all = priced.shape.batches * sum;
  return {all, {all}, {all}};
}

double update_seconds(const PricedPlan& priced, int64_t rank, double last_backward_s) {
  const PlanShape& shape = priced.shape;
  const Machine& machine = priced.machine;
  const LayerCost held = sum_of_rank(priced, rank);
  const double moved = kUpdateBytes * held.weights / machine.memory_bandwidth;
  const double experts = expert_mean_seconds(priced, held);
  if (shape.data == 1) return experts + moved;
  const int64_t stride = shape.ranks * shape.expert * shape.tensor;
  const Link& link = link_of(machine, stride, shape.data);
  const auto n = static_cast<double>(shape.data);
  const double bytes = kWeightBytes * held.weights;
  const auto seconds = [&](const char* collective, double rounds) {
    return group_seconds(machine, link, {collective, rounds * (n - 1) / n * bytes, bytes, true},
                         shape.data);
  };
  // Only where the trainer has the last backward pass to itself: a pipeline's gradients, and those that are summed over "expert",
  // are there when all is done.
  const bool hides = shape.ranks == 1 && shape.expert == 1;
  const auto exposed = [&](double time) {
    return hides ? time - std::min(time * machine.overlap, last_backward_s) : time;
  };
  if (!priced.plan.shard_update) return experts + exposed(seconds("all_reduce", 2)) + moved;
  return experts + exposed(seconds("reduce_scatter", 1)) + moved / n + seconds("all_gather", 1);
}

}  // namespace lexel::planner
