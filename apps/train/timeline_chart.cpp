#include "apps/train/timeline_chart.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <utility>

namespace lexel::train {
namespace {

using parallel::TraceEvent;

// Of the picture, in its units.
constexpr double kWidth = 960, kLeft = 96, kRight = 12, kTop = 34, kRow = 18, kBetween = 8,
                 kBottom = 26;

const std::map<std::string, const char*> kColours = {
    {"forward", "#3b82f6"},        {"backward", "#10b981"},   {"wait", "#e5e7eb"},
    {"reduce-scatter", "#f59e0b"}, {"all-gather", "#8b5cf6"}, {"optimizer", "#ef4444"}};

const char* colour_of(const std::string& category) {
  const auto found = kColours.find(category);
  return found == kColours.end() ? "#6b7280" : found->second;
}

/// The first number of a name ("decoder forward 3 chunk 1"), or none.
std::string number_in(const std::string& name) {
  const size_t begin = name.find_first_of("0123456789");
  if (begin == std::string::npos) return "";
  return name.substr(begin, name.find_first_not_of("0123456789", begin) - begin);
}

/// A step of 1, 2 or 5 times a power of ten, of which `length` has ten at most.
double tick_of(double length) {
  const double power = std::pow(10.0, std::floor(std::log10(length / 10)));
  for (const double step : {1.0, 2.0, 5.0})
    if (length / (step * power) <= 10.0) return step * power;
  return 10.0 * power;
}

/// Rows of one lane: each event into the first that is free.
std::vector<std::vector<TraceEvent>> rows_of(std::vector<TraceEvent> events) {
  std::ranges::sort(events, {}, &TraceEvent::begin_us);
  std::vector<std::vector<TraceEvent>> rows;
  for (TraceEvent& event : events) {
    const auto free = std::ranges::find_if(
        rows, [&](const auto& row) { return row.back().end_us <= event.begin_us; });
    (free == rows.end() ? rows.emplace_back() : *free).push_back(std::move(event));
  }
  return rows;
}

}  // namespace

std::string timeline_chart(const std::vector<TraceEvent>& events) {
  std::map<std::pair<int64_t, int64_t>, std::vector<TraceEvent>> lanes;
  double first = events.empty() ? 0.0 : events[0].begin_us, last = first + 1.0;
  std::map<std::string, const char*> categories;
  for (const TraceEvent& event : events) {
    lanes[{event.rank, event.lane}].push_back(event);
    first = std::min(first, event.begin_us);
    last = std::max(last, event.end_us);
    categories[event.category] = colour_of(event.category);
  }
  const double scale = (kWidth - kLeft - kRight) / (last - first);
  std::ostringstream body;
  body.precision(6);
  double y = kTop;
  for (auto& [place, lane] : lanes) {
    const auto rows = rows_of(std::move(lane));
    body << "<text x=\"" << kLeft - 8 << "\" y=\"" << y + kRow * 0.7
         << "\" text-anchor=\"end\" fill=\"#374151\">rank " << place.first
         << (place.second == 0 ? "" : " sends") << "</text>\n";
    for (const auto& row : rows) {
      for (const TraceEvent& event : row) {
        const double x = kLeft + (event.begin_us - first) * scale;
        const double width = std::max((event.end_us - event.begin_us) * scale, 0.5);
        body << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << width << "\" height=\""
             << kRow - 2 << "\" fill=\"" << colour_of(event.category) << "\"><title>" << event.name
             << ": " << (event.end_us - event.begin_us) / 1e3 << " ms</title></rect>\n";
        const std::string number = event.category == "wait" ? "" : number_in(event.name);
        if (!number.empty() && width > 9.0 * static_cast<double>(number.size()))
          body << "<text x=\"" << x + width / 2 << "\" y=\"" << y + kRow * 0.66
               << "\" text-anchor=\"middle\" fill=\"#fff\" pointer-events=\"none\">" << number
               << "</text>\n";
      }
      y += kRow;
    }
    y += kBetween;
  }
  const double height = y + kBottom;
  std::ostringstream svg;
  svg << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << kWidth << ' ' << height
      << "\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" "
         "fill=\"#fff\"/>\n";
  double x = kLeft;
  for (const auto& [category, colour] : categories) {
    svg << "<rect x=\"" << x << "\" y=\"10\" width=\"11\" height=\"11\" fill=\"" << colour
        << "\"/><text x=\"" << x + 16 << "\" y=\"19\" fill=\"#374151\">" << category << "</text>\n";
    x += 34 + 6.5 * static_cast<double>(category.size());
  }
  const double tick = tick_of((last - first) / 1e3);  // ms
  for (double ms = 0; ms * 1e3 <= last - first; ms += tick) {
    const double at = kLeft + ms * 1e3 * scale;
    svg << "<line x1=\"" << at << "\" y1=\"" << kTop - 4 << "\" x2=\"" << at << "\" y2=\"" << y
        << "\" stroke=\"#f3f4f6\"/><text x=\"" << at << "\" y=\"" << y + 14
        << "\" text-anchor=\"middle\" fill=\"#374151\">" << ms
        << (ms + tick > (last - first) / 1e3 ? " ms" : "") << "</text>\n";
  }
  return svg.str() + body.str() + "</svg>\n";
}

}  // namespace lexel::train
