#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <span>
#include <vector>

#include "autoregressive/parallel/group.h"
#include "autoregressive/parallel/pipeline_letters.h"
#include "autoregressive/parallel/pipeline_schedule.h"
#include "autoregressive/parallel/plan.h"
#include "autoregressive/parallel/timeline.h"
#include "autoregressive/stages.h"

namespace lexel::parallel {

/// One of the parts that a step is made of, and how it is computed: on one rank a step of gradient accumulation.
///
/// Where options.experts is set, it gets the choices of the layers that this rank computed, and the auxiliary loss of all ranks'
/// layers, without gradient.
struct MicroBatch {
  ar::Lesson lesson;
  ar::ForwardOptions options;
};

/// A batch cut into `count` micro-batches of as many rows, which know their place in it: all together compute what one rank
/// computes from the whole batch, dropout included.
///
/// throws   Error(kUsage) where the rows do not divide
std::vector<MicroBatch> micro_batches(const ar::Lesson& batch, int64_t count,
                                      const ar::ForwardOptions& options);

/// What a rank did and when: it waited for its inputs from `wait` to `begin`, then computed.
struct PipelineEvent {
  PipelineAction action;
  Moment wait, begin, end;
};

void add_to(Timeline& timeline, const std::vector<PipelineEvent>& events);

/// The most that a rank kept at once, of one stack.
struct LiveActivations {
  int64_t pairs = 0;   // of micro-batch and chunk, between forward and backward
  int64_t graphs = 0;  // of these, with all their activations; others hold the chunk's input only
};

/// Runs a plan's schedule over the ranks of the axis "pipeline". Each rank needs its stage_parameters() alone. All ranks of the axis
/// call the same functions with the same micro-batches (tokens are small; activations and gradients travel between ranks).
/// Nothing is assumed of the other axes: the options' LayerRunner is used by each stage, and gradients are left in
/// the parameters for whoever sums them.
///
/// Encoder and decoder are a pipeline each. The encoder's output goes from its last stage to all ranks with decoder blocks, which
/// send back what their blocks want changed in it. A chunk without blocks does nothing, and nothing is sent to it.
///
/// source   Huang et al. 2018, arXiv:1811.06965; Yu et al. 2022, arXiv:2206.10789, section 3
class Pipeline {
 public:
  /// group    the axis "pipeline", outlives this
  /// throws   Error(kUsage) as check_plan(), or on a group of another size than the plan's axis
  Pipeline(Group& group, const ar::Config& config, const Plan& plan);

  /// Forward and backward: adds the gradient of the mean of all micro-batches' losses (and weighted auxiliary losses) to the
  /// gradients of this rank's parameters.
  /// Plan::rematerialize keeps the chunks' inputs only (except where the backward pass comes next).
  ///
  /// parts    as many as the plan has micro-batches, of any number of rows
  /// returns  (M) float32 (float64): each micro-batch's loss, on every rank
  /// throws   as ar::token_loss(); Error(kUsage) on another number of micro-batches; Error(kIo) as Group
  at::Tensor train(const ar::Model& model, std::span<const MicroBatch> parts);

  /// The losses alone, without gradient; otherwise as train().
  at::Tensor evaluate(const ar::Model& model, std::span<const MicroBatch> parts);

  const PipelineSchedule& schedule() const { return schedule_; }
  /// Of the last train() or evaluate() on this rank.
  const std::vector<PipelineEvent>& events() const { return events_; }
  LiveActivations live(Stack stack) const {
    return stack == Stack::kEncoder ? encoder_live_ : decoder_live_;
  }

 private:
  class Pass;
  at::Tensor pass(const ar::Model& model, std::span<const MicroBatch> parts, bool train,
                  const char* function);

  Group& group_;
  ar::Config config_;
  Plan plan_;
  PipelineSchedule schedule_;
  Letters letters_;
  std::vector<PipelineEvent> events_;
  LiveActivations encoder_live_, decoder_live_;
};

}  // namespace lexel::parallel
