#include "apps/train/generator/parted_generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <algorithm>

#include "autoregressive/parallel/sharded_model.h"
#include "autoregressive/parallel/stage_parameters.h"
#include "kernels/check.h"

namespace lexel::train {

PartedGenerator::PartedGenerator(ar::Model& model, const parallel::Plan& plan, parallel::Mesh& mesh)
    : plan_(plan), mesh_(mesh), config_(model.config) {
  parallel::Group& experts = mesh.along("expert");
  if (experts.size() > 1) {
    check(config_.experts > 0 && config_.routing != "static", ErrorKind::kUsage,
          "mesh: axis expert: the model has no experts (model.experts)");
    for (const parallel::Annotation& annotation : parallel::expert_annotations())
      plan_.annotations.push_back(annotation);
    exchange_ = std::make_unique<parallel::ExpertAllToAll>(experts);
  }
  parallel::check_plan(plan_, config_);
  sharding_ = parallel::sharding_of(config_, plan_);
  if (mesh.along("tensor").size() > 1 || exchange_) {
    model = parallel::shard(model, sharding_, mesh);
  }
  if (mesh.along("tensor").size() > 1) {
    runner_ = std::make_unique<parallel::ShardedRunner>(sharding_, mesh);
  }
  ar::Model layout = ar::model_layout(config_);
  for (const Parameter& p : ar::parameters(layout)) places_[p.name] = place_in_whole(p);
  const int64_t rank = mesh.coordinate("pipeline");
  for (const Parameter& p : parallel::stage_parameters(model, plan_, rank))
    names_.push_back(p.name);
  if (mesh.along("pipeline").size() > 1) {
    parallel::keep_stage(model, plan_, rank);
    pipeline_ = std::make_unique<parallel::Pipeline>(mesh.along("pipeline"), config_, plan_);
  }
}

ParameterList PartedGenerator::parameters(ar::Model& model) const {
  ParameterList list;
  for (Parameter& p : parallel::local_parameters(model, sharding_))
    if (std::find(names_.begin(), names_.end(), p.name) != names_.end())
      list.push_back(std::move(p));
  return list;
}

PlaceOfTensor PartedGenerator::place_in_whole(const Parameter& whole) const {
  const parallel::Placement& placement = sharding_.weight(whole.name);
  PlaceOfTensor place{whole.shape, {}, true};
  // Of ranks that hold the same values the first counts.
  for (const char* const axis : {"tensor", "expert"})
    if (placement.axis != axis && mesh_.coordinate(axis) != 0) place.counts = false;
  if (!placement.split) return place;
  const int64_t ranks = mesh_.along(placement.axis).size();
  if (ranks == 1) return place;
  // The same part of each of the matrices that lie behind each other.
  const int64_t matrices = placement.dim == 0 ? sharding_.stacks.at(whole.name) : 1;
  const int64_t rows = whole.shape[size_t(placement.dim)] / matrices, own = rows / ranks;
  place.part.dim = placement.dim;
  for (int64_t m = 0; m < matrices; ++m)
    place.part.ranges.emplace_back(m * rows + mesh_.coordinate(placement.axis) * own, own);
  return place;
}

at::Tensor PartedGenerator::train(const ar::Model& model,
                                  const std::vector<parallel::MicroBatch>& passes) {
  return pipeline_->train(model, passes);
}

ar::Model PartedGenerator::whole(const ar::Model& model) {
  const at::NoGradGuard no_grad;
  ar::Model all = model;
  parallel::Group& stages = mesh_.along("pipeline");
  if (stages.size() > 1) {
    // Each parameter from the rank that holds it.
    for (Parameter& p : parallel::local_parameters(all, sharding_)) {
      const int64_t holder = parallel::stage_of(plan_, p.name) % stages.size();
      at::Tensor values =
          holder == stages.rank() ? p.tensor->detach().clone() : at::empty(p.shape, at::kFloat);
      stages.broadcast(values, holder);
      *p.tensor = values;
    }
  }
  return runner_ || exchange_ ? parallel::gather_whole(all, sharding_, mesh_) : all;
}

void PartedGenerator::reduce_over_experts(ar::Model& model) {
  parallel::Group alone;
  parallel::reduce_gradients(parameters(model), mesh_.along("expert"), alone);
}

std::vector<parallel::TraceEvent> PartedGenerator::trace() const {
  if (!pipeline_) return {};
  return parallel::trace_events(pipeline_->events(), mesh_.world().rank);
}

}  // namespace lexel::train
