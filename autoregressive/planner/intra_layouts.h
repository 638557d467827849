#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/parallel/plan.h"
#include "autoregressive/planner/cost_model.h"
#include "autoregressive/planner/layer_graph.h"

namespace lexel::planner {

/// Layouts of the layers on the ranks of the axis "tensor": weights' annotations, by integer programs over what the tensor-parallel
/// model carries out. Layers that are alike have one program; blocks with experts are annotated as those without.
struct IntraLayouts {
  std::vector<parallel::Annotation> annotations;
  std::string residual = "replicate";  // or "split"
  double seconds = 0;                  // of all layers, forward and backward, a micro-batch
  bool cuts_all = false;               // all that parallel::tensor_annotations() cuts
};

/// `residual` given: "replicate" or "split".
IntraLayouts intra_layouts(const LayerGraph& graph, const Machine& machine,
                           const Training& training, int64_t tensor, int64_t pictures,
                           const std::string& residual);

/// The layer without experts that most blocks of a stack are: one program for all, because they share the text's heads.
size_t usual_layer(const LayerGraph& graph, const std::vector<size_t>& blocks);

/// `tensor` ranks side by side.
DeviceMesh tensor_mesh(const Machine& machine, int64_t tensor);

}  // namespace lexel::planner
