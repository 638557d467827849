#include "apps/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <sstream>

#include "kernels/check.h"

namespace lexel::train {
namespace {

double parse_number(const std::string& text, const std::string& name) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  check(!text.empty() && *end == '\0' && std::isfinite(value), ErrorKind::kUsage, name,
        ": expected a number, got '", text, "'");
  return value;
}

/// "name=rest" -> its two halves.
std::pair<std::string, std::string> parse_pair(const std::string& text, const std::string& name) {
  const size_t equals = text.find('=');
  check(equals != std::string::npos && equals > 0 && equals + 1 < text.size(), ErrorKind::kUsage,
        name, ": expected NAME=VALUE, got '", text, "'");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace

double Curve::at(double progress) const {
  if (progress < points.front().first) return points.front().second;
  for (size_t i = points.size(); i-- > 0;) {
    if (progress < points[i].first) continue;
    if (i + 1 == points.size()) return points[i].second;
    const auto& [x0, y0] = points[i];
    const auto& [x1, y1] = points[i + 1];
    return y0 + (y1 - y0) * (progress - x0) / (x1 - x0);
  }
  return points.front().second;
}

Curve parse_curve(const std::string& text, const std::string& name) {
  Curve curve;
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    const size_t colon = word.find(':');
    if (colon == std::string::npos) {
      check(curve.points.empty() && (in >> std::ws).eof(), ErrorKind::kUsage, name,
            ": expected one number or points PROGRESS:VALUE, got '", text, "'");
      curve.points.emplace_back(0.0, parse_number(word, name));
      return curve;
    }
    const double at = parse_number(word.substr(0, colon), name);
    check(at >= 0.0 && at <= 1.0, ErrorKind::kUsage, name, ": expected progress in 0..1, got ", at);
    check(curve.points.empty() || curve.points.back().first <= at, ErrorKind::kUsage, name,
          ": expected points in ascending order, got '", text, "'");
    curve.points.emplace_back(at, parse_number(word.substr(colon + 1), name));
  }
  check(!curve.points.empty(), ErrorKind::kUsage, name,
        ": expected a number or points, got nothing");
  return curve;
}

std::map<std::string, Curve> parse_curves(const std::string& text, const std::string& name) {
  std::map<std::string, Curve> curves;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ';');) {
    part.erase(0, part.find_first_not_of(' '));
    if (part.empty()) continue;
    const auto [key, curve] = parse_pair(part, name);
    check(curves.emplace(key, parse_curve(curve, name + "." + key)).second, ErrorKind::kUsage, name,
          ": '", key, "' is given twice");
  }
  return curves;
}

std::map<std::string, double> parse_weights(const std::string& text, const std::string& name) {
  std::map<std::string, double> weights;
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    const auto [key, value] = parse_pair(word, name);
    const double weight = parse_number(value, name + "." + key);
    check(weight >= 0.0, ErrorKind::kUsage, name, ": expected weights of at least 0, got ", weight,
          " for '", key, "'");
    check(weights.emplace(key, weight).second, ErrorKind::kUsage, name, ": '", key,
          "' is given twice");
  }
  return weights;
}

double warmup_cosine(int64_t step, int64_t warmup_steps, double progress, double final_rate) {
  return warmup_decay("cosine", step, warmup_steps, progress, 0.0, final_rate);
}

double warmup_decay(const std::string& decay, int64_t step, int64_t warmup_steps, double progress,
                    double decay_start, double final_rate) {
  const double warmup =
      warmup_steps > 0 ? std::min(1.0, double(step + 1) / double(warmup_steps)) : 1.0;
  const double done = std::clamp((progress - decay_start) / (1.0 - decay_start), 0.0, 1.0);
  if (decay == "exponential") return warmup * std::pow(final_rate, done);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return warmup * (final_rate + (1.0 - final_rate) * cosine);
}

double Plan::progress(int64_t step) const {
  if (total_steps <= from_step) return total_steps > 0 ? 1.0 : from_progress;
  const double share = double(step - from_step) / double(total_steps - from_step);
  return std::min(1.0, from_progress + share * (1.0 - from_progress));
}

Plan Plan::revised(int64_t step, int64_t remaining_steps) const {
  return {step, progress(step), step + std::max<int64_t>(remaining_steps, 1)};
}

}  // namespace lexel::train
