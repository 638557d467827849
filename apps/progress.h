#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lexel::cli {

/// A progress line on stderr: share done, rate and time left, redrawn at most ten times a second. Silent
/// when stderr is not a terminal, or when told so.
class Progress {
 public:
  /// total   number of steps, or -1 when it is not known
  /// unit    what is counted, in the plural: "pictures"
  Progress(std::string label, int64_t total, std::string unit, bool quiet);
  ~Progress();  // ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `note` is shown behind the rate, e.g. a loss.
  void update(int64_t done, const std::string& note = "");
  void set_total(int64_t total) { total_ = total; }

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_, unit_;
  int64_t total_;
  int64_t first_done_ = -1;
  bool shown_;
  bool drawn_ = false;
  Clock::time_point start_, last_;
};

/// "1 h 05 min", "2 min 10 s", "8 s".
std::string format_duration(double seconds);

}  // namespace lexel::cli
