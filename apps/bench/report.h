#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/bench/case.h"
#include "apps/bench/measure.h"
#include "apps/machine.h"
#include "kernels/gpu_stopwatch.h"

namespace lexel::bench {

/// What came out of one case.
struct Row {
  std::string kernel, name;
  Ceiling ceiling = Ceiling::kLaunch;
  double work = 0.0;            // of one call, in the ceiling's unit
  std::string checked;          // what the check compared
  std::string error;            // why ours is wrong or cannot run; then nothing was timed
  std::vector<Timing> timings;  // ours first
};

struct Report {
  cli::MachineReport machine;
  std::string device;                  // "cpu", "cuda:0"
  kernels::GpuDescription gpu;         // of a run on CUDA
  std::string date;                    // UTC, "2026-01-31"
  std::map<Ceiling, double> ceilings;  // units/s, measured in this run
  std::vector<Row> rows;
};

/// The table kernel | case | ours | peer | its time | ratio | share of the ceiling, a line for each peer, and above it
/// where and how it was measured.
std::string as_text(const Report& report);
std::string as_markdown(const Report& report);
std::string as_json(const Report& report);

/// "FMA", "bf16 matmul", "read", "update", "none"; and the unit of its rate: "FLOP/s" or "B/s".
const char* ceiling_name(Ceiling ceiling);
const char* ceiling_unit(Ceiling ceiling);

/// "2.58 ms", "117 us": three digits.
std::string format_seconds(double seconds);

}  // namespace lexel::bench
