#include "autoregressive/planner/inter_operator.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>

#include "tests/support/expect_error.h"

namespace lexel::planner {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

/// The least T* over all cuts and submeshes that use all devices.
double least(const InterProblem& problem, int64_t stages) {
  double best = kInfinite;
  std::vector<StageChoice> chosen;
  const auto price = [&] {
    double sum = 0, longest = 0;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const double time = problem.time(chosen[i].first, chosen[i].end, chosen[i].submesh,
                                       static_cast<int64_t>(chosen.size() - i));
      sum += time;
      longest = std::max(longest, time);
    }
    best = std::min(best, sum + static_cast<double>(problem.micro_batches - 1) * longest);
  };
  const auto extend = [&](const auto& self, int64_t first, int64_t devices) -> void {
    if (first == problem.layers) {
      const bool counted = stages == 0 || stages == static_cast<int64_t>(chosen.size());
      if (devices == 0 && counted) price();
      return;
    }
    for (int64_t end = first + 1; end <= problem.layers; ++end) {
      for (size_t m = 0; m < problem.submeshes.size(); ++m) {
        if (problem.submeshes[m] > devices) continue;
        chosen.push_back({first, end, m});
        self(self, end, devices - problem.submeshes[m]);
        chosen.pop_back();
      }
    }
  };
  extend(extend, 0, problem.devices);
  return best;
}

TEST(InterOperator, EqualsBruteForceOnRandomTables) {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> uniform(0.5, 3);
  int fitting = 0;
  for (int table = 0; table < 60; ++table) {
    std::vector<double> work(5 + random() % 2), memory(work.size());
    for (double& w : work) w = uniform(random);
    for (double& m : memory) m = uniform(random);
    std::vector<double> noise(4096);
    for (double& n : noise) n = 0.8 + 0.2 * uniform(random);
    InterProblem problem;
    problem.layers = static_cast<int64_t>(work.size());
    problem.submeshes = {1, 2, 4};
    problem.devices = 4 + 2 * static_cast<int64_t>(random() % 2);
    problem.micro_batches = 1 + static_cast<int64_t>(random() % 8);
    problem.stages = table % 3 == 0 ? 2 : 0;
    const double room = 4 + 8 * uniform(random);
    problem.time = [&](int64_t first, int64_t end, size_t m, int64_t behind) {
      double time = 0, held = 0;
      for (int64_t i = first; i < end; ++i) {
        time += work[static_cast<size_t>(i)];
        held += memory[static_cast<size_t>(i)];
      }
      const auto n = static_cast<double>(problem.submeshes[m]);
      if (held * (1 + 0.5 * static_cast<double>(behind)) / n > room) return kInfinite;
      return time / n * noise[static_cast<size_t>((first * 7 + end) * 3) + m];
    };
    const InterPlan plan = plan_stages(problem);
    const double expected = least(problem, problem.stages);
    if (std::isinf(expected)) {
      EXPECT_TRUE(plan.stages.empty()) << "table " << table;
      EXPECT_TRUE(std::isinf(plan.time));
      continue;
    }
    ++fitting;
    EXPECT_NEAR(plan.time, expected, 1e-9) << "table " << table;
    int64_t next = 0, devices = 0;
    for (const StageChoice& stage : plan.stages) {
      EXPECT_EQ(stage.first, next);
      next = stage.end;
      devices += problem.submeshes[stage.submesh];
    }
    EXPECT_EQ(next, problem.layers);
    EXPECT_EQ(devices, problem.devices);
  }
  EXPECT_GT(fitting, 30);
}

TEST(InterOperator, EqualLayersAreSharedOutEvenly) {
  InterProblem problem;
  problem.layers = 64;
  problem.devices = problem.stages = 16;
  problem.micro_batches = 32;
  problem.time = [](int64_t first, int64_t end, size_t, int64_t) { return double(end - first); };
  const InterPlan plan = plan_stages(problem);
  ASSERT_EQ(plan.stages.size(), 16u);
  EXPECT_EQ(plan.longest, 4);
  EXPECT_EQ(plan.time, 64 + 31 * 4);
}

TEST(InterOperator, MemoryOfEarlyStagesCountsMoreMicroBatches) {
  // Equal layers of one unit of activations: under 1F1B the first of two stages holds two micro-batches.
  InterProblem problem;
  problem.layers = 6;
  problem.devices = problem.stages = 2;
  problem.micro_batches = 4;
  problem.time = [](int64_t first, int64_t end, size_t, int64_t behind) {
    return double((end - first) * behind) <= 4 ? double(end - first) : kInfinite;
  };
  const InterPlan plan = plan_stages(problem);
  ASSERT_EQ(plan.stages.size(), 2u);
  EXPECT_EQ(plan.stages[0].end, 2);
}

TEST(InterOperator, NothingToPlanIsRefused) {
  tests::expect_error(ErrorKind::kUsage, "expected layers, devices", [] { plan_stages({}); });
}

}  // namespace
}  // namespace lexel::planner
