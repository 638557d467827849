#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "autoregressive/planner/cost_model.h"

namespace lexel::planner {

/// One of several ways for each node, a cost for each way and for each pair of ways along an edge.
struct ChoiceProblem {
  struct Edge {
    size_t from = 0, to = 0;
    std::vector<std::vector<double>>
        costs;  // [way of from][way of to], >= 0; infinite: not together
  };
  std::vector<std::vector<double>> nodes;  // [node][way], >= 0
  std::vector<Edge> edges;
};

struct Choice {
  std::vector<size_t> ways;  // of each node
  double cost = 0;
};

double cost_of(const ChoiceProblem& problem, const std::vector<size_t>& ways);

/// The choice of the least cost, as an integer program: one-hot s_v; e_vu in [0, 1] for each pair of ways along an edge, with
/// sum e = 1, row sums <= s_v and column sums <= s_u, so that e is s_v s_u wherever s is whole. Solved by CBC.
///
/// throws   Error(kUsage) on a node without a way; Error(kInternal) when the solver gives up
/// source   Zheng et al. 2022, arXiv:2201.12023, section 4.2
Choice choose(const ChoiceProblem& problem);

/// An operator between layouts of a training step. Element-wise operators and norms are part of the one that they follow.
struct Operator {
  enum class Kind {
    kInput,      // a matrix that comes from elsewhere, in any layout
    kMatmul,     // (rows, inner) x weight (inner, columns); a second input is added to the result
    kAttention,  // of each picture and head by itself; all inputs in one layout
    kOutput      // where the result must lie
  };
  std::string name;
  Kind kind = Kind::kMatmul;
  std::vector<size_t> inputs{};  // operators before this one
  int64_t rows = 0, inner = 0, columns = 0;
  // Parts into which each may be cut, if not single ones: pictures, heads.
  int64_t row_units = 0, inner_units = 0, column_units = 0;
  double seconds = 0;      // of computing, forward and backward, on one device
  bool gradient = true;    // the first input (or the kInput itself) has one
  bool inner_cut = false;  // by the tensor-parallel model: see Layouts::executable
  bool always_cut =
      false;  // by it wherever it can be: for memory, which the program does not price
  std::optional<Spec> fixed{};  // layout of a kInput or kOutput
};

/// Which ways an operator has. For each axis of the mesh, one of: rows cut, inner cut (the result is all-reduced), columns cut (the
/// gradient of the input is all-reduced); no dimension is cut along both axes. These are Alpa's six strategies of a product.
struct Layouts {
  bool replicated = false;  // also: an axis computes the same all over
  // Also: the input gathered from rows for columns cut, and its gradient reduce-scattered; the result of inner cut
  // reduce-scattered to rows, and its gradient gathered. (Parti's fully partitioned form.)
  bool scattered = false;
  // Only what the tensor-parallel model carries out: products have columns cut, or inner where `inner_cut`, and what one operator
  // cuts by columns the next reads so.
  bool executable = false;
  bool padded = false;               // dimensions that do not divide are cut all the same
  bool backward = true;              // transfers of the backward pass too
  double element_bytes = 4;          // of activations
  double weight_bytes = 4;           // of a weight's gradient
  double weight_gradient_share = 1;  // of its all-reduce: 1 / M where M micro-batches share one
};

/// One way of an operator. The two products of the backward pass lie as the forward's, mirrored.
struct Way {
  std::vector<Spec> inputs;
  Spec output;
  std::vector<Transfer> forward, backward, weight_gradient;
  double seconds = 0;  // of computing
};

std::vector<Way> ways_of(const Operator& op, const DeviceMesh& mesh, const Layouts& layouts);

/// Ways of all operators and the transfers between them, at the least cost.
struct IntraPlan {
  std::vector<Way> ways;
  std::vector<Transfer> forward, backward, weight_gradient;  // of all operators and edges
  double cost = 0;                                           // with the weight gradients' share
};

/// throws   Error(kUsage) when an operator has no way on this mesh
IntraPlan plan_operators(const std::vector<Operator>& operators, const DeviceMesh& mesh,
                         const Layouts& layouts);

/// The program that plan_operators solves.
ChoiceProblem choice_problem(const std::vector<Operator>& operators, const DeviceMesh& mesh,
                             const Layouts& layouts);

}  // namespace lexel::planner
