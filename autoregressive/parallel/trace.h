#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::parallel {

/// Something that took a while, for a timeline.
struct TraceEvent {
  std::string name;
  std::string category;  // "forward", "backward", "wait", ...: a viewer shows or hides all of one
  int64_t rank = 0;      // a row of rows
  int64_t lane = 0;      // a row of that rank's
  double begin_us = 0.0;
  double end_us = 0.0;
};

/// Microseconds of the clock that all processes of a machine share.
double trace_clock_us();

/// A file that chrome://tracing and ui.perfetto.dev open: complete events ("X"), the rank as process and the lane as thread; time
/// begins with the first event.
///
/// throws   Error(kIo)
void write_chrome_trace(const std::string& path, const std::vector<TraceEvent>& events);

}  // namespace lexel::parallel
