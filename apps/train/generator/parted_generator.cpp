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
  parallel::check_plan(plan, config_);
  sharding_ = parallel::sharding_of(config_, plan);
  if (mesh.along("tensor").size() > 1) {
    model = parallel::shard(model, sharding_, mesh);
    runner_ = std::make_unique<parallel::ShardedRunner>(sharding_, mesh);
  }
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

PlaceOfTensor PartedGenerator::place_of(const std::string& name) const {
  ar::Model layout = ar::model_layout(config_);
  for (const Parameter& p : ar::parameters(layout)) {
    if (p.name != name) continue;
    const parallel::Placement& placement = sharding_.weight(name);
    PlaceOfTensor place{p.shape, {}, true};
    const int64_t ranks = mesh_.along("tensor").size();
    if (ranks == 1) return place;
    if (!placement.split) {
      place.counts = mesh_.coordinate("tensor") == 0;
      return place;
    }
    // The same part of each of the matrices that lie behind each other.
    const int64_t matrices = placement.dim == 0 ? sharding_.stacks.at(name) : 1;
    const int64_t rows = p.shape[size_t(placement.dim)] / matrices, own = rows / ranks;
    place.part.dim = placement.dim;
    for (int64_t m = 0; m < matrices; ++m)
      place.part.ranges.emplace_back(m * rows + mesh_.coordinate("tensor") * own, own);
    return place;
  }
  fail(ErrorKind::kInternal, "no parameter ", name);
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
  return runner_ ? parallel::gather_whole(all, sharding_, mesh_) : all;
}

std::vector<parallel::TraceEvent> PartedGenerator::trace() const {
  if (!pipeline_) return {};
  return parallel::trace_events(pipeline_->events(), mesh_.world().rank);
}

}  // namespace lexel::train
