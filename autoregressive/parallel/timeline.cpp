#include "autoregressive/parallel/timeline.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <utility>

namespace lexel::parallel {

Moment moment_of(at::Device device) {
  if (device.is_cpu()) return {trace_clock_us(), nullptr};
  const c10::impl::VirtualGuardImpl guard(device.type());
  Moment moment{0.0, std::make_shared<c10::Event>(device.type(),
                                                  c10::EventFlag::BACKEND_DEFAULT)};  // with time
  moment.event->record(guard.getStream(device));
  return moment;
}

Timeline::Timeline(at::Device device, int64_t rank)
    : device_(device), rank_(rank), start_(moment_of(device)) {
  if (start_.event) start_.event->synchronize();
  start_us_ = trace_clock_us();
}

void Timeline::add(const std::string& name, const std::string& category, int64_t lane,
                   const Moment& begin, const Moment& end) {
  const std::lock_guard lock(mutex_);
  entries_.push_back({{name, category, rank_, lane, 0.0, 0.0}, begin, end});
}

void Timeline::clear() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

double Timeline::us(const Moment& moment) const {
  if (!moment.event) return moment.us;
  moment.event->synchronize();
  return start_us_ + 1e3 * start_.event->elapsedTime(*moment.event);
}

std::vector<TraceEvent> Timeline::events() const {
  const std::lock_guard lock(mutex_);
  std::vector<TraceEvent> all;
  for (const Entry& entry : entries_) {
    all.push_back(entry.event);
    all.back().begin_us = us(entry.begin);
    all.back().end_us = us(entry.end);
  }
  return all;
}

Span::Span(Timeline* timeline, std::string name, std::string category)
    : timeline_(timeline), name_(std::move(name)), category_(std::move(category)) {
  if (timeline_ != nullptr) begin_ = timeline_->now();
}

Span::~Span() {
  if (timeline_ != nullptr) timeline_->add(name_, category_, 0, begin_, timeline_->now());
}

}  // namespace lexel::parallel
