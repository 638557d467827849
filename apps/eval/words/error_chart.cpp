#include "apps/eval/words/error_chart.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace lexel::eval {
namespace {

// Of the picture, in its units.
constexpr double kWidth = 640, kHeight = 360, kLeft = 48, kRight = 150, kTop = 20, kBottom = 44;

class Chart {
 public:
  Chart(size_t words, double highest) : words_(double(words)), top_(std::ceil(highest * 2) / 2) {
    svg_ << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << kWidth << ' ' << kHeight
         << "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
            "fill=\"#fff\"/>\n";
    for (double error = 0; error <= top_; error += 0.5) {
      svg_ << "<line x1=\"" << kLeft << "\" x2=\"" << kWidth - kRight << "\" y1=\"" << y(error)
           << "\" y2=\"" << y(error) << "\" stroke=\"#e5e7eb\"/>";
      text(kLeft - 8, y(error) + 4, "end", "#374151", error);
    }
    for (size_t word = 1; word <= words; ++word)
      text(x(word), kHeight - kBottom + 18, "middle", "#374151", word);
    text((kLeft + kWidth - kRight) / 2, kHeight - 8, "middle", "#374151", "words at one position");
    text(kLeft, kTop - 6, "start", "#374151", "squared error of random unit vectors");
  }

  void curve(const std::vector<double>& errors, const std::string& colour, bool dashed,
             const std::string& label, double label_y) {
    svg_ << "<polyline fill=\"none\" stroke=\"" << colour << "\" stroke-width=\"2\""
         << (dashed ? " stroke-dasharray=\"5 4\"" : "") << " points=\"";
    for (size_t word = 1; word <= errors.size(); ++word)
      svg_ << x(word) << ',' << y(errors[word - 1]) << ' ';
    svg_ << "\"/>\n";
    text(kWidth - kRight + 8, label_y, "start", colour, label);
  }

  double x(size_t word) const {
    return kLeft + (double(word) - 1) / std::max(1.0, words_ - 1) * (kWidth - kLeft - kRight);
  }
  double y(double error) const {
    return kHeight - kBottom - error / top_ * (kHeight - kTop - kBottom);
  }
  std::string text() const { return svg_.str() + "</svg>\n"; }

 private:
  template <class Value>
  void text(double at_x, double at_y, const char* anchor, const std::string& colour,
            const Value& value) {
    svg_ << "<text x=\"" << at_x << "\" y=\"" << at_y << "\" text-anchor=\"" << anchor
         << "\" fill=\"" << colour << "\">" << value << "</text>\n";
  }

  double words_, top_;
  std::ostringstream svg_;
};

}  // namespace

std::string error_chart(const std::vector<WidthErrors>& all) {
  struct Curve {
    const std::vector<double>* errors;
    std::string colour, label;
    bool dashed;
  };
  std::vector<Curve> curves;
  double highest = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const double share = all.size() == 1 ? 1.0 : double(i) / double(all.size() - 1);
    const auto shade = [share](int hue) {
      return "hsl(" + std::to_string(hue) + ",70%," + std::to_string(std::lround(68 - 36 * share)) +
             "%)";
    };
    const std::string width = std::to_string(all[i].width);
    curves.push_back({&all[i].average, shade(212), "average, width " + width, false});
    curves.push_back({&all[i].residual, shade(14), "residual, width " + width, true});
    for (const Curve* curve : {&curves[curves.size() - 2], &curves.back()})
      highest = std::max(highest, *std::ranges::max_element(*curve->errors));
  }
  // Labels stand at the curves' ends, lowest first, moved apart where they would meet.
  std::ranges::sort(curves, {}, [](const Curve& curve) { return curve.errors->back(); });
  Chart chart(all.front().average.size(), highest);
  double free_below = kHeight;
  for (const Curve& curve : curves) {
    const double label_y = std::min(chart.y(curve.errors->back()) + 4, free_below);
    free_below = label_y - 14;
    chart.curve(*curve.errors, curve.colour, curve.dashed, curve.label, label_y);
  }
  return chart.text();
}

}  // namespace lexel::eval
