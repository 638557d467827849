#include "autoregressive/planner/inter_operator.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/check.h"

namespace lexel::planner {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

/// All times of a problem, by (behind, first, end, submesh).
class Times {
 public:
  explicit Times(const InterProblem& problem)
      : layers_(problem.layers), submeshes_(problem.submeshes.size()) {
    most_ = problem.stages > 0 ? problem.stages : std::min(problem.layers, problem.devices);
    times_.assign(static_cast<size_t>(most_ * (layers_ + 1) * (layers_ + 1)) * submeshes_,
                  kInfinite);
    for (int64_t s = 1; s <= most_; ++s)
      for (int64_t first = 0; first < layers_; ++first)
        for (int64_t end = first + 1; end <= layers_; ++end)
          for (size_t m = 0; m < submeshes_; ++m)
            times_[index(s, first, end, m)] = problem.time(first, end, m, s);
  }

  double at(int64_t behind, int64_t first, int64_t end, size_t submesh) const {
    return times_[index(behind, first, end, submesh)];
  }
  int64_t most_stages() const { return most_; }

  /// Finite values, ascending, those closer than a millionth to one before left out.
  std::vector<double> distinct() const {
    std::vector<double> all;
    for (const double time : times_)
      if (std::isfinite(time)) all.push_back(time);
    std::ranges::sort(all);
    std::vector<double> kept;
    for (size_t i = 0; i < all.size(); ++i)  // the highest of a run of near equals
      if (i + 1 == all.size() || all[i + 1] > all[i] * (1 + 1e-6)) kept.push_back(all[i]);
    return kept;
  }

 private:
  size_t index(int64_t behind, int64_t first, int64_t end, size_t submesh) const {
    return static_cast<size_t>(((behind - 1) * (layers_ + 1) + first) * (layers_ + 1) + end) *
               submeshes_ +
           submesh;
  }
  int64_t layers_;
  size_t submeshes_;
  int64_t most_ = 0;
  std::vector<double> times_;
};

/// Algorithm 1 for one t_max.
class Program {
 public:
  Program(const InterProblem& problem, const Times& times)
      : problem_(problem),
        times_(times),
        cells_(static_cast<size_t>((times.most_stages() + 1) * (problem.layers + 1) *
                                   (problem.devices + 1))),
        smallest_(std::ranges::min(problem.submeshes)),
        largest_(std::ranges::max(problem.submeshes)) {}

  InterPlan solve(double t_max) {
    std::ranges::fill(cells_, Cell{});
    cell(0, problem_.layers, 0).sum = 0;
    for (int64_t s = 1; s <= times_.most_stages(); ++s)
      for (int64_t first = problem_.layers - 1; first >= 0; --first)
        for (size_t m = 0; m < problem_.submeshes.size(); ++m) extend(s, first, m, t_max);
    InterPlan best;
    best.time = kInfinite;
    const int64_t fewest = problem_.stages > 0 ? problem_.stages : 1;
    for (int64_t s = fewest; s <= times_.most_stages(); ++s) {
      if (!std::isfinite(cell(s, 0, problem_.devices).sum)) continue;
      const InterPlan plan = read(s);
      if (plan.time < best.time) best = plan;
    }
    return best;
  }

 private:
  struct Cell {
    double sum = kInfinite;
    StageChoice choice;
  };

  Cell& cell(int64_t s, int64_t first, int64_t devices) {
    return cells_[static_cast<size_t>((s * (problem_.layers + 1) + first) * (problem_.devices + 1) +
                                      devices)];
  }

  void extend(int64_t s, int64_t first, size_t submesh, double t_max) {
    const int64_t size = problem_.submeshes[submesh];
    for (int64_t end = first + 1; end <= problem_.layers; ++end) {
      const double time = times_.at(s, first, end, submesh);
      if (time > t_max) continue;
      const int64_t most = std::min(problem_.devices, size + (s - 1) * largest_);
      for (int64_t devices = size + (s - 1) * smallest_; devices <= most; ++devices) {
        const double sum = time + cell(s - 1, end, devices - size).sum;
        Cell& target = cell(s, first, devices);
        if (sum < target.sum) target = {sum, {first, end, submesh}};
      }
    }
  }

  InterPlan read(int64_t s) {
    InterPlan plan;
    double sum = 0;
    int64_t first = 0, devices = problem_.devices;
    for (; s > 0; --s) {
      const StageChoice choice = cell(s, first, devices).choice;
      const double time = times_.at(s, choice.first, choice.end, choice.submesh);
      plan.stages.push_back(choice);
      plan.longest = std::max(plan.longest, time);
      sum += time;
      first = choice.end;
      devices -= problem_.submeshes[choice.submesh];
    }
    plan.time = sum + static_cast<double>(problem_.micro_batches - 1) * plan.longest;
    return plan;
  }

  const InterProblem& problem_;
  const Times& times_;
  std::vector<Cell> cells_;
  int64_t smallest_, largest_;  // submesh, in devices
};

}  // namespace

InterPlan plan_stages(const InterProblem& problem) {
  check_arg(problem.layers >= 1 && problem.devices >= 1 && problem.micro_batches >= 1 &&
                !problem.submeshes.empty() && problem.stages >= 0,
            "plan_stages", "expected layers, devices, submeshes and micro-batches, got ",
            problem.layers, ", ", problem.devices, ", ", problem.submeshes.size(), " and ",
            problem.micro_batches);
  check_arg(std::ranges::min(problem.submeshes) >= 1, "plan_stages",
            "expected submeshes of at least 1 device, got ", std::ranges::min(problem.submeshes));
  const Times times(problem);
  Program program(problem, times);
  InterPlan best;
  best.time = kInfinite;
  // Below some t_max nothing fits, from there on something does.
  const std::vector<double> limits = times.distinct();
  const auto first = std::partition_point(limits.begin(), limits.end(), [&](double t_max) {
    return program.solve(t_max).stages.empty();
  });
  for (auto t_max = first; t_max != limits.end(); ++t_max) {
    if (static_cast<double>(problem.micro_batches) * *t_max >= best.time) break;
    const InterPlan plan = program.solve(*t_max);
    if (plan.time < best.time) best = plan;
  }
  return best;
}

}  // namespace lexel::planner
