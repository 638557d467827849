#include "autoregressive/parallel/trace.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "tokenizers/io/atomic_file.h"

namespace lexel::parallel {

double trace_clock_us() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::micro>(now).count();
}

void write_chrome_trace(const std::string& path, const std::vector<TraceEvent>& events) {
  using Json = nlohmann::json;
  Json list = Json::array();
  std::set<int64_t> ranks;
  double first_us = events.empty() ? 0.0 : events.front().begin_us;
  for (const TraceEvent& event : events) {
    ranks.insert(event.rank);
    first_us = std::min(first_us, event.begin_us);
  }
  for (const int64_t rank : ranks) {
    list.push_back(Json{{"ph", "M"},
                        {"name", "process_name"},
                        {"pid", rank},
                        {"args", {{"name", "rank " + std::to_string(rank)}}}});
  }
  for (const TraceEvent& event : events) {
    list.push_back(Json{{"ph", "X"},
                        {"name", event.name},
                        {"cat", event.category},
                        {"pid", event.rank},
                        {"tid", event.lane},
                        {"ts", event.begin_us - first_us},
                        {"dur", event.end_us - event.begin_us}});
  }
  write_file(path, Json{{"traceEvents", list}, {"displayTimeUnit", "ms"}}.dump() + "\n");
}

}  // namespace lexel::parallel
