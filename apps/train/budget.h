#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "apps/train/schedule.h"

namespace lexel::train {

/// How long a run has gone and how long it may: so many steps, so many minutes, or the first of the two. The plan
/// (how far the run is) follows from it; see Plan.
class Budget {
 public:
  /// The clock starts now.
  ///
  /// steps, minutes    0 is "no limit"; one of them is above 0
  /// plan, elapsed_s   of the parts of the run before this one
  Budget(int64_t steps, double minutes, const Plan& plan, double elapsed_s);

  double elapsed_s() const;      // of all parts; what follow() said last, once it was called
  double own_elapsed_s() const;  // by this process's clock
  /// From now on it is this late until the next call: ranks that train together go by one clock.
  void follow(double elapsed_s) { followed_s_ = elapsed_s; }
  bool finished(int64_t step) const;
  const Plan& plan() const { return plan_; }
  double progress(int64_t step) const { return plan_.progress(step); }

  /// With a budget of minutes: is it time to estimate for the first time how many steps fit?
  bool first_estimate_due(int64_t steps_done) const;
  /// Estimates again how many steps fit, from the rate since measure_from().
  void estimate(int64_t step);
  /// A run that goes on with other steps or minutes than before: it is as far as a run of this length would be. With a budget of
  /// minutes, how many steps fit is estimated anew.
  void change_length(int64_t step);
  /// The rate is measured from here: after a start or an evaluation, whose time is not that of steps.
  void measure_from(int64_t step);

 private:
  using Clock = std::chrono::steady_clock;
  int64_t steps_;
  double minutes_;
  Plan plan_;
  double elapsed_before_s_;
  Clock::time_point begin_ = Clock::now();
  int64_t measured_step_ = 0;
  double measured_s_ = 0.0;
  std::optional<double> followed_s_;
};

/// Notices a loss that explodes.
struct UsualLoss {
  double value = 0.0;  // running mean

  /// throws   Error(kBadData) naming the step when the loss is not finite, or, after the first 50 steps, 100 times the
  ///          usual one
  void observe(int64_t step, double loss);
};

}  // namespace lexel::train
