#include "apps/train/generator/parted_generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <algorithm>
#include <iterator>
#include <numeric>

#include "apps/train/place_of_tensor.h"
#include "autoregressive/parallel/sharded_model.h"
#include "autoregressive/parallel/stage_parameters.h"

namespace lexel::train {
namespace {

constexpr int64_t kMostEvaluatedAtOnce = 32;  // as many samples as a batch of an evaluation has

}  // namespace

PartedGenerator::PartedGenerator(const ar::Config& config, const parallel::Plan& plan,
                                 parallel::Mesh& mesh)
    : plan_(plan), mesh_(mesh), config_(config) {
  parallel::Group& experts = mesh.along("expert");
  parallel::check_plan(plan_, config_);
  if (experts.size() > 1) exchange_ = std::make_unique<parallel::ExpertAllToAll>(experts);
  sharding_ = parallel::sharding_of(config_, plan_);
  if (mesh.along("tensor").size() > 1)
    runner_ = std::make_unique<parallel::ShardedRunner>(sharding_, mesh);
  ar::Model layout = ar::model_layout(config_);
  for (const Parameter& p : ar::parameters(layout))
    places_[p.name] = place_in_whole(p, sharding_, mesh);
  if (mesh.along("pipeline").size() == 1) return;
  pipeline_ = std::make_unique<parallel::Pipeline>(mesh.along("pipeline"), config_, plan_);
  // A step may have thousands of micro-batches, held-out samples come by tens: no more of them than that are made up.
  parallel::Plan evaluated = plan_;
  evaluated.micro_batches = evaluated_at_once_ =
      std::gcd(plan_.micro_batches, kMostEvaluatedAtOnce);
  evaluation_ = std::make_unique<parallel::Pipeline>(mesh.along("pipeline"), config_, evaluated);
}

bool PartedGenerator::holds(const std::string& name) const {
  return parallel::stage_of(plan_, name) % plan_.mesh.length("pipeline") ==
         mesh_.coordinate("pipeline");
}

at::Tensor PartedGenerator::part_of(const at::Tensor& whole, const std::string& name) const {
  return parallel::cut(whole, name, sharding_, mesh_.coordinate(sharding_.weight(name).axis));
}

ParameterList PartedGenerator::parameters(ar::Model& model) const {
  ParameterList list = parallel::local_parameters(model, sharding_);
  std::erase_if(list, [this](const Parameter& p) { return !holds(p.name); });
  return list;
}

at::Tensor PartedGenerator::train(const ar::Model& model,
                                  const std::vector<parallel::MicroBatch>& passes) {
  return pipeline_->train(model, passes);
}

at::Tensor PartedGenerator::evaluate(const ar::Model& model,
                                     std::vector<parallel::MicroBatch> passes) {
  const int64_t count = std::ssize(passes), at_once = evaluated_at_once_;
  while (std::ssize(passes) % at_once != 0) passes.push_back(passes.back());  // not read
  std::vector<at::Tensor> losses;
  for (auto begin = passes.begin(); begin != passes.end(); begin += at_once)
    losses.push_back(evaluation_->evaluate(model, {begin, begin + at_once}));
  return at::cat(losses).narrow(0, 0, count);
}

ar::Model PartedGenerator::collect(const ar::Model& model, at::Device device) {
  const at::NoGradGuard no_grad;
  ar::Model all = model;  // shares its tensors until they are replaced
  ParameterList parts = ar::parameters(all);
  ar::Model layout = ar::model_layout(config_);
  const ParameterList wholes = ar::parameters(layout);
  for (size_t i = 0; i < parts.size(); ++i) {
    const at::Tensor& part = *parts[i].tensor;  // undefined where another rank holds it
    const at::Tensor whole = collect(part.defined() ? part.detach() : part, wholes[i]);
    *parts[i].tensor = whole.defined() ? whole.to(device) : whole;
  }
  return all;
}

at::Tensor PartedGenerator::collect(const at::Tensor& part, const Parameter& whole) {
  if (mesh_.coordinate("data") != 0) return {};
  const parallel::Placement& placement = sharding_.weight(whole.name);
  for (const char* const axis : {"tensor", "expert"})
    if (placement.axis != axis && mesh_.coordinate(axis) != 0) return {};
  parallel::Group& stages = mesh_.along("pipeline");
  const int64_t holder = parallel::stage_of(plan_, whole.name) % stages.size();
  at::Tensor values = part;
  if (placement.split && holder == stages.rank()) {
    parallel::Group& parts = mesh_.along(placement.axis);
    if (parts.rank() != 0) {
      parts.send(part.contiguous(), 0).wait();
      return {};
    }
    std::vector<at::Tensor> all{part};
    for (int64_t rank = 1; rank < parts.size(); ++rank) {
      at::Tensor other = at::empty_like(part, at::MemoryFormat::Contiguous);
      parts.receive(other, rank).wait();
      all.push_back(other);
    }
    values = parallel::join(all, whole.name, sharding_);
  }
  if (placement.split && mesh_.coordinate(placement.axis) != 0) return {};
  if (holder == 0) return stages.rank() == 0 ? values : at::Tensor();
  if (stages.rank() == holder) stages.send(values.contiguous(), 0).wait();
  if (stages.rank() != 0) return {};
  values = at::empty(whole.shape, at::TensorOptions(mesh_.device()).dtype(at::kFloat));
  stages.receive(values, holder).wait();
  return values;
}

void PartedGenerator::reduce_over_experts(ar::Model& model) {
  parallel::Group alone;
  parallel::reduce_gradients(parameters(model), mesh_.along("expert"), alone);
}

void PartedGenerator::add_to(parallel::Timeline& timeline) const {
  if (pipeline_) parallel::add_to(timeline, pipeline_->events());
}

}  // namespace lexel::train
