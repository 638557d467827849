#include "apps/train/budget.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace lexel::train {
namespace {

constexpr int64_t kStepsBeforePlan = 20;  // of which the first are slower than all others
constexpr double kExplosion = 100.0;      // times the usual loss
constexpr int64_t kStepsBeforeExplosion = 50;

}  // namespace

Budget::Budget(int64_t steps, double minutes, const Plan& plan, double elapsed_s)
    : steps_(steps), minutes_(minutes), plan_(plan), elapsed_before_s_(elapsed_s) {
  if (steps > 0) plan_ = {0, 0.0, steps};
}

double Budget::elapsed_s() const { return followed_s_.value_or(own_elapsed_s()); }

double Budget::own_elapsed_s() const {
  return elapsed_before_s_ + std::chrono::duration<double>(Clock::now() - begin_).count();
}

bool Budget::finished(int64_t step) const {
  if (steps_ > 0 && step >= steps_) return true;
  if (minutes_ <= 0) return false;
  return elapsed_s() >= minutes_ * 60.0 ||
         (plan_.total_steps > 0 && step >= plan_.total_steps && steps_ == 0);
}

bool Budget::first_estimate_due(int64_t steps_done) const {
  return steps_ == 0 && plan_.total_steps == 0 && steps_done == kStepsBeforePlan;
}

void Budget::estimate(int64_t step) {
  const int64_t steps = step - measured_step_;
  if (steps_ > 0 || steps <= 0) return;
  const double left_s = minutes_ * 60.0 - elapsed_s();
  const double step_s = (elapsed_s() - measured_s_) / double(steps);
  plan_ = plan_.revised(step, int64_t(left_s / step_s));
}

void Budget::change_length(int64_t step) {
  if (steps_ > 0) return;  // the plan is these steps
  plan_ = {step, std::min(1.0, elapsed_s() / (minutes_ * 60.0)), 0};
}

void Budget::measure_from(int64_t step) {
  measured_step_ = step;
  measured_s_ = elapsed_s();
}

void UsualLoss::observe(int64_t step, double loss) {
  check(std::isfinite(loss), ErrorKind::kBadData, "step ", step + 1, ": the loss is not finite");
  check(step < kStepsBeforeExplosion || loss < kExplosion * std::abs(value) + 1.0,
        ErrorKind::kBadData, "step ", step + 1, ": the loss exploded to ", loss, " from ", value);
  value = step == 0 ? loss : 0.98 * value + 0.02 * loss;
}

}  // namespace lexel::train
