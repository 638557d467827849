#include "autoregressive/planner/intra_operator.h"

#include <gtest/gtest.h>
#include <random>

#include "tests/support/expect_error.h"

namespace lexel::planner {
namespace {

using Kind = Operator::Kind;

/// Alpa's playground: `layers` products of hidden x hidden on a batch, float32, forward, backward and update.
std::vector<Operator> perceptron(size_t layers, int64_t batch, int64_t hidden) {
  std::vector<Operator> graph = {{"x", Kind::kInput, {}, batch, 0, hidden}};
  graph[0].gradient = false;
  for (size_t i = 0; i < layers; ++i) {
    graph.push_back({"layer", Kind::kMatmul, {i}, batch, hidden, hidden});
    graph.back().gradient = i > 0;
  }
  return graph;
}

double planned(size_t layers, int64_t batch, int64_t hidden, std::array<int64_t, 2> shape,
               double second_beta = 1) {
  const DeviceMesh mesh{shape, {Link{1, 1}, Link{1, second_beta}}, true};
  Layouts layouts;
  layouts.padded = true;  // a batch of 1024 over 3
  return plan_operators(perceptron(layers, batch, hidden), mesh, layouts).cost;
}

TEST(IntraOperator, AlpasObjectivesOnOneAxisToTheDigit) {
  for (const std::array<int64_t, 2> shape : {std::array<int64_t, 2>{4, 1}, {1, 4}}) {
    EXPECT_NEAR(planned(2, 1024, 128, shape), 196610.02, 1e-6);    // two weights' gradients
    EXPECT_NEAR(planned(2, 128, 1024, shape), 786433.01, 1e-6);    // one activation
    EXPECT_NEAR(planned(12, 1024, 128, shape), 1179660.12, 1e-6);  // twelve weights' gradients
    EXPECT_NEAR(planned(12, 128, 1024, shape), 8650763.11, 1e-6);  // eleven activations
  }
}

TEST(IntraOperator, AlpasObjectivesOnTwoAxesToTheDigit) {
  EXPECT_NEAR(planned(2, 1024, 128, {4, 8}, 0.01), 26872.03, 1e-6);
  EXPECT_NEAR(planned(2, 1024, 128, {8, 4}, 0.01), 58330.03, 1e-6);
  EXPECT_NEAR(planned(2, 1024, 128, {3, 4}, 0.01), 46314.03, 1e-6);
  EXPECT_NEAR(planned(12, 1024, 128, {4, 8}, 0.01), 172702.23, 1e-6);
  EXPECT_NEAR(planned(12, 1024, 128, {8, 4}, 0.01), 354900.23, 1e-6);
  EXPECT_NEAR(planned(12, 1024, 128, {3, 4}, 0.01), 290994.23, 1e-6);
}

/// Heads of one picture: products by columns, attention by heads, the output product by inner rows.
std::vector<Operator> attention(int64_t pictures, int64_t tokens, int64_t width, int64_t heads) {
  const int64_t rows = pictures * tokens;
  std::vector<Operator> graph = {
      {"x", Kind::kInput, {}, rows, 0, width, pictures},
      {"attention.qkv", Kind::kMatmul, {0}, rows, width, 3 * width, 0, 0, heads},
      {"attention", Kind::kAttention, {1}, rows, 0, width, pictures, 0, heads},
      {"attention.out", Kind::kMatmul, {2, 0}, rows, width, width, 0, heads, 0},
      {"y", Kind::kOutput, {3}, rows, 0, width}};
  graph[3].inner_cut = true;
  graph[0].fixed = graph[4].fixed = Spec{0, 0};
  return graph;
}

TEST(IntraOperator, AttentionForwardIsOneAllReduceOfItsOutput) {
  const DeviceMesh mesh{{1, 4}, {Link{1, 1}, Link{1, 1}}, true};
  Layouts layouts;
  layouts.executable = true;
  layouts.backward = false;
  const IntraPlan plan = plan_operators(attention(8, 64, 128, 8), mesh, layouts);
  EXPECT_NEAR(plan.cost, cost(mesh, Transfer{Collective::kAllReduce, 1, 8 * 64 * 128 * 4}), 1e-9);
  EXPECT_EQ(plan.ways[2].output, (Spec{0, 2}));
}

TEST(IntraOperator, TensorParallelBlockSendsMegatronsBytes) {
  // 4 all-reduces of b s h, or as many all-gathers and reduce-scatters where the stream lies in parts.
  const DeviceMesh mesh{{1, 4}, {Link{0, 1}, Link{0, 1}}, false};
  const int64_t rows = 8 * 64, width = 128, hidden = 512;
  std::vector<Operator> graph = attention(8, 64, width, 8);
  graph.pop_back();
  graph.push_back({"feed_forward.up", Kind::kMatmul, {3}, rows, width, hidden});
  graph.push_back({"feed_forward.down", Kind::kMatmul, {4, 3}, rows, hidden, width});
  graph.back().inner_cut = true;
  graph.push_back({"y", Kind::kOutput, {5}, rows, 0, width});
  const double bytes = 2 * static_cast<double>(rows * width);
  for (const bool split : {false, true}) {
    Layouts layouts;
    layouts.executable = true;
    layouts.scattered = split;
    layouts.element_bytes = 2;
    graph.front().fixed = graph.back().fixed = split ? Spec{2, 0} : Spec{0, 0};
    const IntraPlan plan = plan_operators(graph, mesh, layouts);
    EXPECT_NEAR(plan.cost, 8 * 0.75 * bytes, 1e-6);
    std::map<std::string, double> sent;
    for (const Transfer& transfer : plan.forward) count_bytes(mesh, transfer, 1, sent);
    for (const Transfer& transfer : plan.backward) count_bytes(mesh, transfer, 1, sent);
    if (split) {
      EXPECT_EQ(sent, (std::map<std::string, double>{{"all_gather", 3 * bytes},
                                                     {"reduce_scatter", 3 * bytes}}));
    } else {
      EXPECT_EQ(sent, (std::map<std::string, double>{{"all_reduce", 6 * bytes}}));
    }
  }
}

/// The least cost by trying all.
double least(const ChoiceProblem& problem) {
  std::vector<size_t> ways(problem.nodes.size(), 0);
  double best = 1e300;
  for (;;) {
    best = std::min(best, cost_of(problem, ways));
    size_t v = 0;
    while (v < ways.size() && ++ways[v] == problem.nodes[v].size()) ways[v++] = 0;
    if (v == ways.size()) return best;
  }
}

TEST(IntraOperator, ChoiceEqualsBruteForceOnRandomGraphs) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> cost(0, 10);
  for (int graph = 0; graph < 15; ++graph) {
    ChoiceProblem problem;
    for (int v = 0; v < 7; ++v) {
      problem.nodes.emplace_back(1 + random() % 4);
      for (double& way : problem.nodes.back()) way = cost(random);
    }
    for (size_t u = 0; u < 7; ++u) {
      for (size_t v = u + 1; v < 7; ++v) {
        if (random() % 2) continue;  // not a tree: cycles are what makes it hard
        ChoiceProblem::Edge edge{u, v, {}};
        for (size_t i = 0; i < problem.nodes[u].size(); ++i) {
          edge.costs.emplace_back(problem.nodes[v].size());
          for (double& pair : edge.costs.back()) pair = random() % 3 ? cost(random) : 0;
        }
        problem.edges.push_back(edge);
      }
    }
    const Choice choice = choose(problem);
    EXPECT_NEAR(choice.cost, least(problem), 1e-9) << "graph " << graph;
    EXPECT_NEAR(choice.cost, cost_of(problem, choice.ways), 1e-12);
  }
}

TEST(IntraOperator, BlocksEqualBruteForce) {
  const DeviceMesh mesh{{2, 4}, {Link{5, 1}, Link{1, 0.1}}, false};
  for (const bool rich : {false, true}) {
    Layouts layouts;
    layouts.replicated = layouts.scattered = rich;
    std::vector<Operator> graph = attention(4, 16, 64, 4);
    for (Operator& op : graph) op.seconds = 1000;
    graph.front().fixed = graph.back().fixed = Spec{1, 0};
    const ChoiceProblem problem = choice_problem(graph, mesh, layouts);
    EXPECT_NEAR(plan_operators(graph, mesh, layouts).cost, least(problem), 1e-9);
  }
}

TEST(IntraOperator, WhatCannotBeCutIsNamed) {
  const DeviceMesh mesh{{1, 7}, {Link{1, 1}, Link{1, 1}}, false};
  tests::expect_error(ErrorKind::kUsage, "layer: expected a way to cut it on a mesh of 1 x 7",
                      [&] { plan_operators(perceptron(1, 8, 8), mesh, {}); });
  tests::expect_error(ErrorKind::kUsage, "at least one way", [] { choose({{{}}, {}}); });
  EXPECT_TRUE(choose({}).ways.empty());
}

}  // namespace
}  // namespace lexel::planner
