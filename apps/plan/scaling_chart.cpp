#include "apps/plan/scaling_chart.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace lexel::cli {
namespace {

// Of the picture, in its units.
constexpr double kWidth = 640, kHeight = 400, kLeft = 64, kRight = 110, kTop = 28, kBottom = 44;

class Chart {
 public:
  explicit Chart(const std::vector<ScalingCurve>& curves) {
    for (const ScalingCurve& curve : curves) {
      for (const auto& [devices, rate] : curve.points) {
        low_x_ = std::min(low_x_, std::log2(double(devices)));
        high_x_ = std::max(high_x_, std::log2(double(devices)));
        low_y_ = std::min(low_y_, std::floor(std::log10(rate)));
        high_y_ = std::max(high_y_, std::ceil(std::log10(rate)));
      }
    }
    high_x_ = std::max(high_x_, low_x_ + 1);
    high_y_ = std::max(high_y_, low_y_ + 1);
    svg_ << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << kWidth << ' ' << kHeight
         << "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
            "fill=\"#fff\"/>\n";
    for (double power = low_y_; power <= high_y_; ++power) {
      line(kLeft, y(power), kWidth - kRight, y(power), "#e5e7eb", "");
      text(kLeft - 8, y(power) + 4, "end", "#374151", std::pow(10, power));
    }
    for (double power = std::ceil(low_x_); power <= high_x_; ++power)
      text(x(power), kHeight - kBottom + 18, "middle", "#374151", std::exp2(power));
    text((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", "#374151", "devices");
    text(kLeft, kTop - 10, "start", "#374151",
         "pictures a second, predicted (dashed: no loss to communication)");
  }

  void curve(const ScalingCurve& curve, const std::string& colour) {
    svg_ << "<polyline fill=\"none\" stroke=\"" << colour << "\" stroke-width=\"2\" points=\"";
    for (const auto& [devices, rate] : curve.points)
      svg_ << x(std::log2(double(devices))) << ',' << y(std::log10(rate)) << ' ';
    svg_ << "\"/>\n";
    const auto& [first, first_rate] = curve.points.front();
    const auto& [last, last_rate] = curve.points.back();
    const double ideal = std::log10(first_rate * double(last) / double(first));
    line(x(std::log2(double(first))), y(std::log10(first_rate)), x(std::log2(double(last))),
         std::max(y(ideal), kTop), colour, " stroke-dasharray=\"3 4\"");
    text(kWidth - kRight + 8, y(std::log10(last_rate)) + 4, "start", colour, curve.model);
  }

  std::string text() const { return svg_.str() + "</svg>\n"; }

 private:
  double x(double power) const {
    return kLeft + (power - low_x_) / (high_x_ - low_x_) * (kWidth - kLeft - kRight);
  }
  double y(double power) const {
    return kHeight - kBottom - (power - low_y_) / (high_y_ - low_y_) * (kHeight - kTop - kBottom);
  }
  void line(double x1, double y1, double x2, double y2, const std::string& colour,
            const char* style) {
    svg_ << "<line x1=\"" << x1 << "\" y1=\"" << y1 << "\" x2=\"" << x2 << "\" y2=\"" << y2
         << "\" stroke=\"" << colour << "\"" << style << "/>\n";
  }
  template <class Value>
  void text(double at_x, double at_y, const char* anchor, const std::string& colour,
            const Value& value) {
    svg_ << "<text x=\"" << at_x << "\" y=\"" << at_y << "\" text-anchor=\"" << anchor
         << "\" fill=\"" << colour << "\">" << value << "</text>\n";
  }

  double low_x_ = 60, high_x_ = 0, low_y_ = 60, high_y_ = -60;  // powers of 2 and 10
  std::ostringstream svg_;
};

}  // namespace

std::string scaling_chart(const std::vector<ScalingCurve>& curves) {
  Chart chart(curves);
  for (size_t i = 0; i < curves.size(); ++i) {
    if (curves[i].points.empty()) continue;
    chart.curve(curves[i], "hsl(" + std::to_string(212 + 67 * i) + ",65%,42%)");
  }
  return chart.text();
}

}  // namespace lexel::cli
