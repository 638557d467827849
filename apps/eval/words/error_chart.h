#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::eval {

/// Errors of one width of codes after 1, 2 ... words.
struct WidthErrors {
  int64_t width = 0;
  std::vector<double> average, residual;  // streaming averages, residuals
};

/// The errors as curves in an SVG picture: streaming averages as lines, residuals dashed, darker where codes are wider.
///
/// all      not empty, all of one number of words, finite
std::string error_chart(const std::vector<WidthErrors>& all);

}  // namespace lexel::eval
