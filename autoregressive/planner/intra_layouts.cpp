#include "autoregressive/planner/intra_layouts.h"

#include <algorithm>

#include "autoregressive/planner/intra_operator.h"
#include "kernels/check.h"

namespace lexel::planner {
namespace {

using parallel::Annotation;
using parallel::Placement;

bool is_cut(const ModelOperator& op, const Way& way) {
  if (op.kind == ModelOperator::Kind::kTable) return !way.forward.empty();  // summed over its parts
  return op.inner_cut ? way.inputs.at(0).columns != 0 : way.output.columns != 0;
}

/// Annotations of a layer's weights, whose names begin with `prefix`.
/// Returns whether all matrices are cut.
bool annotate(const Layer& layer, const IntraPlan& plan, const std::vector<Operator>& problem,
              const std::string& prefix, std::vector<Annotation>& annotations) {
  bool all = true;
  for (const ModelOperator& op : layer.operators) {
    if (op.kind == ModelOperator::Kind::kAttention) continue;
    for (size_t i = 0; i < problem.size(); ++i) {
      if (problem[i].name != op.name) continue;
      if (!is_cut(op, plan.ways[i])) {
        all = false;
        continue;
      }
      const bool table = op.kind == ModelOperator::Kind::kTable;
      // Weights are (out, in), tables (ids, width).
      const Placement rows = Placement::along(0, "tensor"), inner = Placement::along(1, "tensor");
      annotations.push_back({prefix + op.name + ".weight", op.inner_cut && !table ? inner : rows});
      if (!op.inner_cut) annotations.push_back({prefix + op.name + ".bias", rows});
    }
  }
  return all;
}

}  // namespace

DeviceMesh tensor_mesh(const Machine& machine, int64_t tensor) {
  return {{1, tensor}, {Link{}, link_of(machine, 1, tensor)}, false};
}

size_t usual_layer(const LayerGraph& graph, const std::vector<size_t>& blocks) {
  return *std::ranges::max_element(blocks, {}, [&](size_t layer) {  // block 0 has no experts
    return graph.layers[layer].has_experts() ? 0 : std::ranges::count(blocks, layer);
  });
}

IntraLayouts intra_layouts(const LayerGraph& graph, const Machine& machine,
                           const Training& training, int64_t tensor, int64_t pictures,
                           const std::string& residual) {
  check_arg(residual == "replicate" || residual == "split", "intra_layouts",
            "expected replicate or split, got ", residual);
  IntraLayouts result{{}, residual, 0, true};
  const DeviceMesh mesh = tensor_mesh(machine, tensor);
  const Spec stream = residual == "split" ? Spec{2, 0} : Spec{};
  Layouts layouts;
  layouts.executable = layouts.replicated = true;
  layouts.scattered = stream.rows != 0;
  layouts.element_bytes = training.compute_bytes;
  const auto solve = [&](size_t layer, const std::string& prefix, size_t count) {
    const auto problem =
        sharding_problem(graph.layers[layer], graph.config, pictures, machine.flops, stream);
    const IntraPlan plan = plan_operators(problem, mesh, layouts);
    if (!annotate(graph.layers[layer], plan, problem, prefix, result.annotations))
      result.cuts_all = false;
    result.seconds += static_cast<double>(count) * plan.cost;
  };
  if (graph.has_text()) {
    solve(graph.text_tables, "", 1);
    solve(usual_layer(graph, graph.encoder), "encoder.blocks.*.", graph.encoder.size());
  }
  solve(graph.tables, "", 1);
  solve(usual_layer(graph, graph.decoder), "decoder.blocks.*.", graph.decoder.size());
  solve(graph.loss, "", 1);
  return result;
}

}  // namespace lexel::planner
