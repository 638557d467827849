#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autoregressive/parallel/pipeline_schedule.h"
#include "autoregressive/parallel/plan.h"
#include "autoregressive/planner/cost_model.h"
#include "autoregressive/planner/layer_graph.h"

namespace lexel::planner {

/// Times of one micro-batch in the chunks of a pipeline: [chunk].
struct ChunkTimes {
  std::vector<double> encoder_forward, encoder_backward;  // empty: no encoder
  std::vector<double> decoder_forward, decoder_backward;
  double encoder_send = 0, decoder_send = 0;  // from stage to stage, each way
};

/// A schedule carried out with these times: every stage does its actions in order, each as soon as what it reads is there.
struct Replay {
  double time = 0;             // until all is done
  std::vector<double> finish;  // of each stage
  std::vector<double> busy;
};
Replay replay(const parallel::PipelineSchedule& schedule, const ChunkTimes& times);

/// What one layer costs a micro-batch on a rank of the axes "tensor" and "expert".
struct LayerCost {
  double forward_s = 0, backward_s = 0;
  double again_s = 0;                                // to compute it again before the backward pass
  double kept = 0;                                   // bytes from its forward to its backward pass
  double weights = 0;                                // values on this rank
  double expert_weights = 0;                         // those of them that the axis "expert" cuts
  std::map<std::string, double> bytes, again_bytes;  // sent, forward and backward; and once more
  LayerCost& operator+=(const LayerCost& other);
};

/// Costs of all layers, those beside the blocks added to the first and last of their stack.
struct ModelCost {
  std::vector<LayerCost> encoder, decoder;  // of each block
};

/// Predicts steps of one model on one kind of machine. Costs of layers are kept, so that many plans are cheap.
class Predictor {
 public:
  Predictor(const ar::Config& config, const Machine& machine, const Training& training);
  ~Predictor();

  const LayerGraph& graph() const;
  const Machine& machine() const;
  const Training& training() const;

  /// Layers of a micro-batch on the plan's axes "tensor" and "expert", as its annotations and residual stream say.
  const ModelCost& costs(const parallel::Plan& plan) const;

  /// Step time, memory and bytes of a plan; its `predicted` is not read.
  ///
  /// step = the schedule carried out, then gradients' means over "expert", what of the exchange over "data" could not hide behind the
  /// last backward pass, the update, and the gathering of the new weights. Text is max_text_tokens long. Without a pipeline
  /// micro-batches follow each other whole, with one they are computed again by chunk instead of by block. A pipeline's exchange, and one
  /// beside "expert", hides behind nothing.
  ///
  /// throws   Error(kUsage) as check_plan
  parallel::Prediction predict(const parallel::Plan& plan) const;

  /// Highest memory of a rank alone: cheap.
  double memory(const parallel::Plan& plan) const;

  /// Step time if all stages were equal and sending were free, whatever the plan's stages: what decides which plans are carried
  /// out in full.
  double lower_bound(const parallel::Plan& plan) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lexel::planner
