#pragma once

#include <csignal>

namespace lexel::train {

/// While one lives, SIGINT and SIGTERM ask a run to stop; a second signal ends the process as usual. One at a time.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  bool asked() const;
  /// What the handler sets, for loops that know no class.
  const volatile std::sig_atomic_t& flag() const;

 private:
  struct sigaction interrupt_ = {}, terminate_ = {};
};

}  // namespace lexel::train
