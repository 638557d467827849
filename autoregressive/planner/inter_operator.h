#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace lexel::planner {

/// One stage of a pipeline: layers first .. end-1 on a submesh.
struct StageChoice {
  int64_t first = 0, end = 0;
  size_t submesh = 0;
  bool operator==(const StageChoice&) const = default;
};

/// Stages, in order, and T* = sum of their times + (micro_batches - 1) times the longest.
struct InterPlan {
  std::vector<StageChoice> stages;  // empty: nothing fits
  double time = 0;                  // infinite then
  double longest = 0;
};

/// A chain of layers that may be cut anywhere, on a number of devices that may be shared out in submeshes.
struct InterProblem {
  int64_t layers = 0;
  std::vector<int64_t> submeshes = {1};  // devices of each kind
  int64_t devices = 1;                   // all are used
  int64_t micro_batches = 1;
  int64_t stages = 0;  // so many; 0: any number
  // Time of one micro-batch, forward and backward, in a stage of layers first .. end-1 with `behind` stages from it to the end,
  // itself among them: so many micro-batches are live in it under 1F1B. Infinite where they do not fit its memory.
  std::function<double(int64_t first, int64_t end, size_t submesh, int64_t behind)> time;
};

/// The stages with the least T*: for each longest time t_max, in ascending order,
///   F(s, k, d) = min over i > k and submeshes of n <= d devices, of which no time is above t_max,
///                of time(k, i, n, s) + F(s - 1, i, d - n);   F(0, K, 0) = 0;   T = min over s of F(s, 0, D) + (B - 1) t_max
/// until B t_max reaches the best. The longest time that occurs is priced, not t_max.
///
/// throws   Error(kUsage) on no layers, devices or submeshes
/// source   Zheng et al. 2022 (Alpa), arXiv:2201.12023, section 5.2 and algorithm 1
InterPlan plan_stages(const InterProblem& problem);

}  // namespace lexel::planner
