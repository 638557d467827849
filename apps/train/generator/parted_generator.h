#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/train/state_piece.h"
#include "autoregressive/model.h"
#include "autoregressive/parallel/expert_parallel.h"
#include "autoregressive/parallel/mesh.h"
#include "autoregressive/parallel/pipeline.h"
#include "autoregressive/parallel/plan.h"
#include "autoregressive/parallel/sharded_runner.h"

namespace lexel::train {

/// A generator of which each rank holds a part, as a plan says: blocks along the axis "pipeline", heads, hidden units and rows of tables along
/// "tensor", experts along "expert". What the training's other code needs to know of it.
class PartedGenerator {
 public:
  /// mesh     of the plan's shape; outlives this object
  /// throws   Error(kUsage) as parallel::check_plan
  PartedGenerator(const ar::Config& config, const parallel::Plan& plan, parallel::Mesh& mesh);

  /// Whether this rank holds (a part of) a parameter, and that part of the whole.
  bool holds(const std::string& name) const;
  at::Tensor part_of(const at::Tensor& whole, const std::string& name) const;

  /// This rank's parameters, with the shapes of its parts.
  ParameterList parameters(ar::Model& model) const;

  /// The shape of the whole parameter, and where this rank's part lies in it.
  const PlaceOfTensor& place_of(const std::string& name) const { return places_.at(name); }

  bool pipelined() const { return pipeline_ != nullptr; }
  /// Tokens to experts of other ranks along the axis "expert", and back; null where one rank holds all.
  const moe::ExpertExchange* exchange() const { return exchange_.get(); }
  /// After the backward passes of a step: gradients become means over the axis "expert", whose ranks learn from different pictures.
  void reduce_over_experts(ar::Model& model);
  /// Computes layers over the axis "tensor"; null where one rank does.
  const ar::LayerRunner* runner() const { return runner_.get(); }

  /// Forward and backward of a step's passes. Returns their losses.
  at::Tensor train(const ar::Model& model, const std::vector<parallel::MicroBatch>& passes);
  /// The losses of any number of passes, without gradient; of a pipeline.
  at::Tensor evaluate(const ar::Model& model, std::vector<parallel::MicroBatch> passes);

  /// The whole model on rank 0 of the world, one tensor after the other; a model without tensors on the others. All ranks
  /// call.
  ar::Model collect(const ar::Model& model, at::Device device);

  /// What this rank did in the last train().
  void add_to(parallel::Timeline& timeline) const;

 private:
  /// The whole of `part` (undefined on ranks without one) on rank 0, undefined on others.
  at::Tensor collect(const at::Tensor& part, const Parameter& whole);

  parallel::Plan plan_;
  parallel::Mesh& mesh_;
  ar::Config config_;
  parallel::Sharding sharding_;
  std::map<std::string, PlaceOfTensor> places_;  // of all parameters: norms ask at every step
  std::unique_ptr<parallel::ShardedRunner> runner_;
  std::unique_ptr<parallel::Pipeline> pipeline_;
  int64_t evaluated_at_once_ = 1;                   // passes
  std::unique_ptr<parallel::Pipeline> evaluation_;  // of so many micro-batches
  std::unique_ptr<parallel::ExpertAllToAll> exchange_;
};

}  // namespace lexel::train
