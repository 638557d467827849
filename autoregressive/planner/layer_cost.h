#pragma once

#include <map>
#include <string>

#include "autoregressive/planner/layer_graph.h"
#include "autoregressive/planner/priced_plan.h"
#include "kernels/parameters.h"

namespace lexel::planner {

/// Costs of a model's layers under a plan: computing, the collectives of the axes "tensor" and "expert", what is kept, weights.
/// Those of plans that differ in stages or schedule alone are the same and are kept.
class LayerCosts {
 public:
  LayerCosts(const LayerGraph& graph, const Machine& machine, const Training& training);

  const ModelCost& of(const parallel::Plan& plan);

 private:
  ModelCost make(const parallel::Plan& plan) const;
  LayerCost compute(const Layer& layer, const std::string& name, const parallel::Plan& plan,
                    const PlanShape& shape) const;
  void add_weights(ModelCost& costs, const parallel::Plan& plan) const;
  void add_tensor_collectives(ModelCost& costs, const parallel::Plan& plan,
                              const PlanShape& shape) const;
  void add_expert_collectives(LayerCost& block, int64_t tokens, const PlanShape& shape) const;

  const LayerGraph& graph_;
  const Machine& machine_;
  const Training& training_;
  ParameterList weights_;  // names and shapes
  std::map<std::string, ModelCost> known_;
};

}  // namespace lexel::planner
