#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lexel::train {

/// A number that follows the progress of a run: straight lines between points (progress, value), the first
/// and last value beyond them. Two points at one progress are a jump, and the later one holds there.
struct Curve {
  std::vector<std::pair<double, double>> points;  // progress in [0, 1], ascending

  double at(double progress) const;
};

/// "1" (a constant) or points "0:0 0.1:0 0.1:1 1:0.5".
///
/// name     of the field, for the message
/// throws   Error(kUsage) on anything else, or points out of order
Curve parse_curve(const std::string& text, const std::string& name);

/// Curves by name: "encoder=0.5; linear=0:0 0.2:0.05". Empty text gives none.
///
/// throws   Error(kUsage) on a name without a curve, or one given twice
std::map<std::string, Curve> parse_curves(const std::string& text, const std::string& name);

/// Numbers by name: "clip_art=0.2 wallpapers=0.5".
std::map<std::string, double> parse_weights(const std::string& text, const std::string& name);

/// Factor of the learning rate: a straight warm-up over the first steps, then a half cosine from 1 to
/// `final_rate` over the progress of the whole run.
double warmup_cosine(int64_t step, int64_t warmup_steps, double progress, double final_rate);

/// Factor of the learning rate: a straight warm-up over the first steps; 1 until the progress is decay_start; then "cosine",
/// half of one from 1 to final_rate, or "exponential", final_rate to the power of the share that is done.
double warmup_decay(const std::string& decay, int64_t step, int64_t warmup_steps, double progress,
                    double decay_start, double final_rate);

/// Where a run stands between its first and its last step. With a budget of steps the progress is step /
/// steps. With a budget of minutes the number of steps is estimated from the measured rate, again at each
/// evaluation, and progress goes on from where it was: it never jumps and never goes back. The plan is saved
/// in checkpoints, so that a resumed run follows the same schedule.
struct Plan {
  int64_t from_step = 0;
  double from_progress = 0.0;
  int64_t total_steps = 0;  // 0: not known yet, progress stays at from_progress

  double progress(int64_t step) const;

  /// The plan after `step` steps, when `remaining_steps` more are thought to fit.
  Plan revised(int64_t step, int64_t remaining_steps) const;
};

}  // namespace lexel::train
