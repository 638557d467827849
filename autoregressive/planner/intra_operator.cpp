#include "autoregressive/planner/intra_operator.h"

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/check.h"

namespace lexel::planner {
namespace {

/// What an axis of the mesh does to an operator.
enum class Role { kNone, kRows, kInner, kColumns };

using Roles = std::array<Role, 2>;

int axes_of(const Roles& roles, Role role) {
  return (roles[0] == role ? 1 : 0) | (roles[1] == role ? 2 : 0);
}

/// A dimension of `size` in `units` parts can be cut so.
bool divides(const DeviceMesh& mesh, const Layouts& layouts, size_t axis, int64_t size,
             int64_t units) {
  return layouts.padded || (units > 0 ? units : size) % mesh.shape[axis] == 0;
}

bool allowed(const Operator& op, const DeviceMesh& mesh, const Layouts& layouts, size_t axis,
             Role role) {
  if (mesh.shape[axis] == 1) return role == Role::kNone;
  const bool matmul = op.kind == Operator::Kind::kMatmul;
  if (layouts.executable && matmul) {
    const Role cut = op.inner_cut ? Role::kInner : Role::kColumns;
    if (role != cut && role != Role::kNone) return false;
    if (role == Role::kNone && op.always_cut && allowed(op, mesh, layouts, axis, cut)) return false;
  }
  if (layouts.executable && role == Role::kRows) return false;
  switch (role) {
    case Role::kNone:
      return layouts.replicated;
    case Role::kRows:
      return divides(mesh, layouts, axis, op.rows, op.row_units);
    case Role::kInner:
      return matmul && divides(mesh, layouts, axis, op.inner, op.inner_units);
    case Role::kColumns:
      return divides(mesh, layouts, axis, op.columns, op.column_units);
  }
  return false;
}

double devices_of(const DeviceMesh& mesh, const Roles& roles) {
  double count = 1;
  for (size_t axis = 0; axis < 2; ++axis)
    if (roles[axis] != Role::kNone) count *= static_cast<double>(mesh.shape[axis]);
  return count;
}

double length(const DeviceMesh& mesh, int axes) {
  return (axes & 1 ? static_cast<double>(mesh.shape[0]) : 1.0) *
         (axes & 2 ? static_cast<double>(mesh.shape[1]) : 1.0);
}

Way attention_way(const Operator& op, const DeviceMesh& mesh, const Roles& roles) {
  Way way;
  way.output = {axes_of(roles, Role::kRows), axes_of(roles, Role::kColumns)};
  way.inputs.assign(op.inputs.size(), way.output);
  way.seconds = op.seconds / devices_of(mesh, roles);
  return way;
}

/// `scattered`: an axis of kColumns gathers its input, one of kInner scatters its output.
Way matmul_way(const Operator& op, const DeviceMesh& mesh, const Layouts& layouts,
               const Roles& roles, bool gathered, bool scattered) {
  const int m = axes_of(roles, Role::kRows), k = axes_of(roles, Role::kInner),
            n = axes_of(roles, Role::kColumns);
  const double in = layouts.element_bytes * static_cast<double>(op.rows * op.inner),
               out = layouts.element_bytes * static_cast<double>(op.rows * op.columns),
               weight = layouts.weight_bytes * static_cast<double>(op.inner * op.columns);
  Way way;
  way.inputs = {{gathered ? m | n : m, k}};
  way.output = {scattered ? m | k : m, n};
  if (op.inputs.size() > 1) way.inputs.push_back(way.output);
  way.seconds = op.seconds / devices_of(mesh, roles);
  const auto axis_of = [](int axes) { return axes == 2 ? 1 : 0; };
  if (n && gathered) {
    way.forward.push_back({Collective::kAllGather, axis_of(n), in / length(mesh, m | k)});
    if (layouts.backward && op.gradient)
      way.backward.push_back({Collective::kReduceScatter, axis_of(n), in / length(mesh, m | k)});
  } else if (n && layouts.backward && op.gradient) {
    way.backward.push_back({Collective::kAllReduce, axis_of(n), in / length(mesh, m | k)});
  }
  if (k && scattered) {
    way.forward.push_back({Collective::kReduceScatter, axis_of(k), out / length(mesh, m | n)});
    if (layouts.backward)
      way.backward.push_back({Collective::kAllGather, axis_of(k), out / length(mesh, m | n)});
  } else if (k) {
    way.forward.push_back({Collective::kAllReduce, axis_of(k), out / length(mesh, m | n)});
  }
  if (m && layouts.backward)
    way.weight_gradient.push_back(
        {Collective::kAllReduce, axis_of(m), weight / length(mesh, k | n)});
  return way;
}

void add_matmul_ways(const Operator& op, const DeviceMesh& mesh, const Layouts& layouts,
                     const Roles& roles, std::vector<Way>& ways) {
  ways.push_back(matmul_way(op, mesh, layouts, roles, false, false));
  if (!layouts.scattered) return;
  const int m = axes_of(roles, Role::kRows), k = axes_of(roles, Role::kInner),
            n = axes_of(roles, Role::kColumns);
  // Rows cut along m first: the other axis comes behind it, never before.
  const auto can = [&](int axes) {
    return axes && axes > m &&
           (op.row_units > 0 ? op.row_units : op.rows) %
                   static_cast<int64_t>(length(mesh, m | axes)) ==
               0;
  };
  if (can(n)) ways.push_back(matmul_way(op, mesh, layouts, roles, true, false));
  if (can(k)) ways.push_back(matmul_way(op, mesh, layouts, roles, false, true));
}

std::vector<Way> free_ways(const Operator& op, const DeviceMesh& mesh) {
  std::vector<Way> ways;
  for (const Spec& spec : op.fixed ? std::vector<Spec>{*op.fixed} : all_specs(mesh))
    ways.push_back({std::vector<Spec>(op.inputs.size(), spec), spec, {}, {}, {}, op.seconds});
  return ways;
}

/// Transfers along an edge: forward, and the gradient's way back.
struct EdgeTransfers {
  std::vector<Transfer> forward, backward;
};

EdgeTransfers between(const DeviceMesh& mesh, const Layouts& layouts, const Operator& from,
                      const Spec& made, const Spec& wanted) {
  const double bytes = layouts.element_bytes * static_cast<double>(from.rows * from.columns);
  EdgeTransfers transfers{reshard(mesh, made, wanted, bytes), {}};
  const bool gradient = from.kind != Operator::Kind::kInput || from.gradient;
  if (layouts.backward && gradient) transfers.backward = reshard(mesh, wanted, made, bytes);
  return transfers;
}

double way_cost(const DeviceMesh& mesh, const Layouts& layouts, const Way& way) {
  return way.seconds + cost(mesh, way.forward) + cost(mesh, way.backward) +
         layouts.weight_gradient_share * cost(mesh, way.weight_gradient);
}

/// Ways of all operators, and a choice problem over them.
struct Formulated {
  std::vector<std::vector<Way>> ways;
  ChoiceProblem problem;
};

Formulated formulate(const std::vector<Operator>& operators, const DeviceMesh& mesh,
                     const Layouts& layouts) {
  Formulated result;
  for (size_t i = 0; i < operators.size(); ++i) {
    result.ways.push_back(ways_of(operators[i], mesh, layouts));
    check_arg(!result.ways[i].empty(), "plan_operators", operators[i].name,
              ": expected a way to cut it on a mesh of ", mesh.shape[0], " x ", mesh.shape[1],
              ", got none");
    std::vector<double>& costs = result.problem.nodes.emplace_back();
    for (const Way& way : result.ways[i]) costs.push_back(way_cost(mesh, layouts, way));
    for (size_t operand = 0; operand < operators[i].inputs.size(); ++operand) {
      const size_t from = operators[i].inputs[operand];
      ChoiceProblem::Edge edge{from, i, {}};
      for (const Way& made : result.ways[from]) {
        std::vector<double>& row = edge.costs.emplace_back();
        for (const Way& used : result.ways[i]) {
          const auto transfers =
              between(mesh, layouts, operators[from], made.output, used.inputs[operand]);
          // Nothing that is carried out cuts columns on the way.
          const bool carried_out =
              !layouts.executable || made.output.columns == used.inputs[operand].columns;
          row.push_back(carried_out ? cost(mesh, transfers.forward) + cost(mesh, transfers.backward)
                                    : std::numeric_limits<double>::infinity());
        }
      }
      result.problem.edges.push_back(std::move(edge));
    }
  }
  return result;
}

void append(std::vector<Transfer>& to, const std::vector<Transfer>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

std::vector<Way> ways_of(const Operator& op, const DeviceMesh& mesh, const Layouts& layouts) {
  if (op.kind == Operator::Kind::kInput || op.kind == Operator::Kind::kOutput)
    return free_ways(op, mesh);
  std::vector<Way> ways;
  const Role all[] = {Role::kNone, Role::kRows, Role::kInner, Role::kColumns};
  for (const Role first : all) {
    if (!allowed(op, mesh, layouts, 0, first)) continue;
    for (const Role second : all) {
      if (!allowed(op, mesh, layouts, 1, second)) continue;
      if (first == second && first != Role::kNone) continue;
      if (op.kind == Operator::Kind::kAttention) {
        ways.push_back(attention_way(op, mesh, {first, second}));
      } else {
        add_matmul_ways(op, mesh, layouts, {first, second}, ways);
      }
    }
  }
  return ways;
}

ChoiceProblem choice_problem(const std::vector<Operator>& operators, const DeviceMesh& mesh,
                             const Layouts& layouts) {
  return formulate(operators, mesh, layouts).problem;
}

IntraPlan plan_operators(const std::vector<Operator>& operators, const DeviceMesh& mesh,
                         const Layouts& layouts) {
  const Formulated formulated = formulate(operators, mesh, layouts);
  const Choice choice = choose(formulated.problem);
  IntraPlan plan;
  plan.cost = choice.cost;
  for (size_t i = 0; i < operators.size(); ++i) {
    plan.ways.push_back(formulated.ways[i][choice.ways[i]]);
    append(plan.forward, plan.ways[i].forward);
    append(plan.backward, plan.ways[i].backward);
    append(plan.weight_gradient, plan.ways[i].weight_gradient);
    for (size_t operand = 0; operand < operators[i].inputs.size(); ++operand) {
      const size_t from = operators[i].inputs[operand];
      const auto transfers = between(mesh, layouts, operators[from], plan.ways[from].output,
                                     plan.ways[i].inputs[operand]);
      append(plan.forward, transfers.forward);
      append(plan.backward, transfers.backward);
    }
  }
  return plan;
}

}  // namespace lexel::planner
