#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// Pictures a second of one model by number of devices.
struct ScalingCurve {
  std::string model;
  std::vector<std::pair<int64_t, double>> points;  // devices, pictures a second; both above 0
};

/// The curves in an SVG picture, both axes logarithmic, dashed where a curve would go if devices lost nothing to each other.
///
/// curves   at least one with a point
std::string scaling_chart(const std::vector<ScalingCurve>& curves);

}  // namespace lexel::cli
