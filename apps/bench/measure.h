#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/bench/case.h"

namespace lexel::bench {

/// What the clock said of one contender.
struct Timing {
  std::string name;
  double seconds = 0.0;  // of one call: CPU the best sample, GPU the median
  int64_t samples = 0;
  bool graph = false;  // GPU: replayed from a CUDA graph; else called each time, its start included
  std::string error;   // why there is no time
};

/// Times ours and its peers with Google Benchmark, interleaved in random order.
///
/// CPU  with one thread the thread's CPU time, else wall time. A case bound by memory finds the caches
///      cold: they are filled with other data before each call, untimed.
/// GPU  events around the replay of a CUDA graph, the L2 cache cold
///
/// returns  ours first, then the peers; one that throws has its error in place of a time
std::vector<Timing> measure(const Runs& runs, Ceiling ceiling, at::Device device, int64_t rounds);

/// Seconds on the clock that this number of threads calls for: the thread's CPU time for one, else wall time.
double clock_s();

}  // namespace lexel::bench
