#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "autoregressive/parallel/trace.h"

namespace c10 {
struct Event;
}

namespace lexel::parallel {

/// On a CPU: now. On a GPU: when its current stream will have done what has been given to it, known once it is done.
struct Moment {
  double us = 0.0;                    // of trace_clock_us()
  std::shared_ptr<c10::Event> event;  // on a GPU, in the place of us
};
Moment moment_of(at::Device device);

/// What one rank does in a step, by the clock of the device that does it. Threads may add at once.
class Timeline {
 public:
  Timeline(at::Device device, int64_t rank);

  Moment now() const { return moment_of(device_); }
  /// lane  a row of this rank's: 0 computes, 1 sends
  void add(const std::string& name, const std::string& category, int64_t lane, const Moment& begin,
           const Moment& end);
  void clear();
  /// Waits for the device.
  std::vector<TraceEvent> events() const;

 private:
  struct Entry {
    TraceEvent event;  // without times
    Moment begin, end;
  };
  double us(const Moment& moment) const;

  at::Device device_;
  int64_t rank_;
  Moment start_;           // on a GPU: an event at start_us_
  double start_us_ = 0.0;  // of trace_clock_us()
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
};

/// Something that lasts as long as this object, on lane 0; of no timeline: nothing.
class Span {
 public:
  Span(Timeline* timeline, std::string name, std::string category);
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  Timeline* timeline_;
  std::string name_, category_;
  Moment begin_;
};

}  // namespace lexel::parallel
