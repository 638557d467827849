#include <algorithm>
#include <cmath>
#include <coin/Cbc_C_Interface.h>
#include <memory>

#include "autoregressive/planner/intra_operator.h"
#include "kernels/check.h"

namespace lexel::planner {
namespace {

/// Rows of the program, column after column, as the solver wants them.
class Program {
 public:
  int add_variable(double cost) {
    starts_.push_back(static_cast<int>(rows_.size()));
    costs_.push_back(cost);
    return static_cast<int>(costs_.size()) - 1;
  }
  int add_row(double low, double high) {
    low_.push_back(low);
    high_.push_back(high);
    return static_cast<int>(low_.size()) - 1;
  }
  /// In the row, the variable added last.
  void put(int row, double factor) {
    rows_.push_back(row);
    factors_.push_back(factor);
  }

  /// The first `whole` variables are 0 or 1, the others between; returns the values of all.
  std::vector<double> solve(int whole) {
    starts_.push_back(static_cast<int>(rows_.size()));
    const double largest = *std::ranges::max_element(costs_);
    if (largest > 0)  // the solver's tolerances are absolute
      for (double& cost : costs_) cost *= 1e4 / largest;
    const std::unique_ptr<Cbc_Model, void (*)(Cbc_Model*)> model(Cbc_newModel(), Cbc_deleteModel);
    const auto columns = static_cast<int>(costs_.size());
    const std::vector<double> zeros(costs_.size(), 0.0), ones(costs_.size(), 1.0);
    Cbc_loadProblem(model.get(), columns, static_cast<int>(low_.size()), starts_.data(),
                    rows_.data(), factors_.data(), zeros.data(), ones.data(), costs_.data(),
                    low_.data(), high_.data());
    for (int i = 0; i < whole; ++i) Cbc_setInteger(model.get(), i);
    Cbc_setLogLevel(model.get(), 0);
    // Small, and most relaxations are whole already: what the solver does for hard programs would take most of the time.
    for (const char* extra : {"preprocess", "heuristicsOnOff", "cutsOnOff"})
      Cbc_setParameter(model.get(), extra, "off");
    Cbc_setParameter(model.get(), "ratioGap", "0");
    Cbc_setParameter(model.get(), "allowableGap", "0");
    Cbc_solve(model.get());
    const double* values = Cbc_getColSolution(model.get());
    check(Cbc_isProvenOptimal(model.get()) && values, ErrorKind::kInternal,
          "choose: the solver found no optimum, status ", Cbc_status(model.get()));
    return std::vector<double>(values, values + columns);
  }

 private:
  std::vector<int> starts_, rows_;
  std::vector<double> factors_, costs_, low_, high_;
};

}  // namespace

double cost_of(const ChoiceProblem& problem, const std::vector<size_t>& ways) {
  double sum = 0;
  for (size_t v = 0; v < ways.size(); ++v) sum += problem.nodes[v][ways[v]];
  for (const ChoiceProblem::Edge& edge : problem.edges)
    sum += edge.costs[ways[edge.from]][ways[edge.to]];
  return sum;
}

Choice choose(const ChoiceProblem& problem) {
  Choice choice;
  if (problem.nodes.empty()) return choice;
  constexpr double kFar = 1e30;
  Program program;
  // Rows first: one-hot of each node; of each edge sum e = 1, then e's row and column sums against s.
  std::vector<int> one_hot, edge_rows;
  for (const std::vector<double>& ways : problem.nodes) {
    check_arg(!ways.empty(), "choose", "expected at least one way for each node, got none");
    one_hot.push_back(program.add_row(1, 1));
  }
  for (const ChoiceProblem::Edge& edge : problem.edges) {
    edge_rows.push_back(program.add_row(1, 1));
    for (size_t i = 0; i < problem.nodes[edge.from].size() + problem.nodes[edge.to].size(); ++i)
      program.add_row(-kFar, 0);
  }
  int whole = 0;
  for (size_t v = 0; v < problem.nodes.size(); ++v) {
    for (size_t way = 0; way < problem.nodes[v].size(); ++way, ++whole) {
      program.add_variable(problem.nodes[v][way]);
      program.put(one_hot[v], 1);
      for (size_t e = 0; e < problem.edges.size(); ++e) {
        const ChoiceProblem::Edge& edge = problem.edges[e];
        const int first = edge_rows[e] + 1;
        const auto sources = static_cast<int>(problem.nodes[edge.from].size());
        if (edge.from == v) program.put(first + static_cast<int>(way), -1);
        if (edge.to == v) program.put(first + sources + static_cast<int>(way), -1);
      }
    }
  }
  for (size_t e = 0; e < problem.edges.size(); ++e) {
    const auto sources = static_cast<int>(problem.edges[e].costs.size());
    for (int i = 0; i < sources; ++i) {
      const std::vector<double>& row = problem.edges[e].costs[static_cast<size_t>(i)];
      for (size_t j = 0; j < row.size(); ++j) {
        if (std::isinf(row[j])) continue;
        program.add_variable(row[j]);
        program.put(edge_rows[e], 1);
        program.put(edge_rows[e] + 1 + i, 1);
        program.put(edge_rows[e] + 1 + sources + static_cast<int>(j), 1);
      }
    }
  }
  const std::vector<double> values = program.solve(whole);
  auto value = values.begin();
  for (const std::vector<double>& ways : problem.nodes) {
    const auto end = value + static_cast<std::ptrdiff_t>(ways.size());
    choice.ways.push_back(static_cast<size_t>(std::max_element(value, end) - value));
    value = end;
  }
  choice.cost = cost_of(problem, choice.ways);
  return choice;
}

}  // namespace lexel::planner
