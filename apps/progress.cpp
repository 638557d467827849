#include "apps/progress.h"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <unistd.h>

#include "kernels/check.h"

namespace lexel::cli {

Progress::Progress(std::string label, int64_t total, std::string unit, bool quiet)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      shown_(!quiet && isatty(STDERR_FILENO) == 1),
      start_(Clock::now()) {}

Progress::~Progress() {
  if (drawn_) std::cerr << "\n";
}

void Progress::update(int64_t done, const std::string& note) {
  if (!shown_) return;
  const auto now = Clock::now();
  if (first_done_ < 0) first_done_ = done, start_ = now;
  const bool last = done == total_;
  if (drawn_ && !last && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done - first_done_) / seconds : 0.0;
  std::string line = concat(label_, " ", done);
  if (total_ > 0) line += concat("/", total_);
  line += concat(" ", unit_);
  if (rate > 0) {
    char text[64];
    std::snprintf(text, sizeof text, ", %.1f %s/s", rate, unit_.c_str());
    line += text;
    if (total_ > done)
      line += concat(", ", format_duration(static_cast<double>(total_ - done) / rate), " left");
  }
  if (!note.empty()) line += concat(", ", note);
  std::cerr << "\r\033[K" << line << std::flush;
  drawn_ = true;
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return concat(whole, " s");
  if (whole < 3600) return concat(whole / 60, " min ", whole % 60, " s");
  return concat(whole / 3600, " h ", (whole % 3600) / 60, " min");
}

}  // namespace lexel::cli
