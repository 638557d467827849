#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "apps/train/run_log.h"
#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::train {
namespace {

using Json = nlohmann::json;

struct Line {
  std::string name, colour;
  bool dashed = false;
  std::vector<std::pair<double, double>> points;  // (step, value)
};

const char* const kColours[] = {"#2563eb", "#dc2626", "#059669", "#d97706",
                                "#7c3aed", "#0891b2", "#be185d", "#4d7c0f"};

std::string number(double value) {
  std::ostringstream out;
  out.precision(4);
  out << value;
  return out.str();
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string base64(const std::vector<uint8_t>& bytes) {
  static const char* const kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve(bytes.size() * 4 / 3 + 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = uint32_t(bytes[i]) << 16;
    if (i + 1 < bytes.size()) word |= uint32_t(bytes[i + 1]) << 8;
    if (i + 2 < bytes.size()) word |= bytes[i + 2];
    out += kDigits[word >> 18];
    out += kDigits[word >> 12 & 63];
    out += i + 1 < bytes.size() ? kDigits[word >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kDigits[word & 63] : '=';
  }
  return out;
}

std::string picture(const std::string& path) {
  if (!std::filesystem::exists(path)) return "";
  return "<img src=\"data:image/png;base64," + base64(read_file(path, int64_t{1} << 28)) + "\">";
}

/// One chart as inline SVG, with its legend. Values that are not finite are left out.
std::string chart(const std::string& title, const std::vector<Line>& lines, bool logarithmic) {
  const double width = 640, height = 260, left = 56, right = 12, top = 10, bottom = 26;
  double x_max = 1, y_min = INFINITY, y_max = -INFINITY;
  const auto scaled = [logarithmic](double y) { return logarithmic ? std::log10(y) : y; };
  const auto usable = [logarithmic](double y) {
    return std::isfinite(y) && (!logarithmic || y > 0);
  };
  for (const Line& line : lines) {
    for (const auto& [x, y] : line.points) {
      if (!usable(y)) continue;
      x_max = std::max(x_max, x);
      y_min = std::min(y_min, scaled(y));
      y_max = std::max(y_max, scaled(y));
    }
  }
  if (!(y_min <= y_max)) return "";
  if (y_max - y_min < 1e-9) y_max = y_min + 1;
  const double margin = 0.05 * (y_max - y_min);
  y_min -= margin;
  y_max += margin;
  const auto px = [&](double x) { return left + (width - left - right) * x / x_max; };
  const auto py = [&](double y) {
    return top + (height - top - bottom) * (1 - (scaled(y) - y_min) / (y_max - y_min));
  };
  std::ostringstream svg;
  svg << "<figure><figcaption>" << escaped(title) << "</figcaption><svg viewBox=\"0 0 " << width
      << ' ' << height << "\">";
  for (int i = 0; i <= 4; ++i) {
    const double share = i / 4.0, y = top + (height - top - bottom) * (1 - share);
    const double value = y_min + share * (y_max - y_min);
    svg << "<line class=grid x1=" << left << " x2=" << width - right << " y1=" << y << " y2=" << y
        << " /><text x=" << left - 6 << " y=" << y + 4 << " text-anchor=end>"
        << number(logarithmic ? std::pow(10.0, value) : value)
        << "</text><text x=" << px(share * x_max) << " y=" << height - 8 << " text-anchor=middle>"
        << number(std::round(share * x_max)) << "</text>";
  }
  for (const Line& line : lines) {
    svg << "<polyline fill=none stroke=\"" << line.colour << "\" stroke-width=1.6"
        << (line.dashed ? " stroke-dasharray=\"5 4\"" : "") << " points=\"";
    for (const auto& [x, y] : line.points) {
      if (usable(y)) svg << px(x) << ',' << py(y) << ' ';
    }
    svg << "\" />";
  }
  svg << "</svg><p class=legend>";
  for (const Line& line : lines) {
    if (line.points.empty()) continue;
    svg << "<span style=\"color:" << line.colour << "\">" << (line.dashed ? "┄ " : "━ ")
        << escaped(line.name) << ' ' << number(line.points.back().second) << "</span> ";
  }
  svg << "</p></figure>\n";
  return svg.str();
}

/// One line of a chart from a field of the log's lines.
Line curve(const std::vector<Json>& rows, const std::string& name, const std::string& pointer,
           int colour) {
  Line line{name, kColours[colour % 8], false, {}};
  const Json::json_pointer where(pointer);
  for (const Json& row : rows) {
    if (row.contains(where) && row[where].is_number()) {
      line.points.emplace_back(row.at("step").get<double>(), row[where].get<double>());
    }
  }
  return line;
}

/// Metrics of the evaluations of a task: one chart each, those of one group ("nll/single", "nll/count") together.
std::string metric_charts(const std::vector<Json>& evaluations) {
  std::map<std::string, std::vector<Line>> charts;
  for (const auto& [name, last] : evaluations.back()["metrics"].items()) {
    std::vector<Line>& lines = charts[name.substr(0, name.find('/'))];
    Line line{name, kColours[lines.size() % 8], false, {}};
    for (const Json& row : evaluations) {
      const Json value = row.value("metrics", Json::object()).value(name, Json());
      if (value.is_number()) line.points.emplace_back(row["step"].get<double>(), value);
    }
    lines.push_back(std::move(line));
  }
  std::string html;
  for (const auto& [group, lines] : charts) {
    html += chart(group + ", held out", lines, false);
  }
  return html;
}

/// The samples of the last evaluation, each above its caption: all of them are one picture, of which each shows its part.
std::string sample_grid(const std::string& folder, const Json& samples) {
  const std::string path = folder + "/samples.png";
  if (!std::filesystem::exists(path)) return "";
  const int64_t size = samples.value("size", int64_t{1}), columns = samples.value("columns", 1);
  const auto captions = samples.value("captions", std::vector<std::string>());
  std::ostringstream html;
  html << "<style>:root{--samples:url(data:image/png;base64,"
       << base64(read_file(path, int64_t{1} << 28)) << ")}.sample{width:" << size
       << "px;font-size:12px}.sample div{height:" << size
       << "px;background-image:var(--samples)}</style>\n<section>";
  for (int64_t i = 0; i < samples.value("count", int64_t{0}); ++i) {
    html << "<div class=sample><div style=\"background-position:-" << i % columns * size << "px -"
         << i / columns * size << "px\"></div>"
         << escaped(size_t(i) < captions.size() ? captions[size_t(i)] : "") << "</div>\n";
  }
  html << "</section>\n";
  return html.str();
}

/// PSNR of one set with its two floors.
std::string psnr_chart(const std::vector<Json>& evaluations, const std::string& set) {
  const std::string at = "/sets/" + set + "/";
  std::vector<Line> lines = {curve(evaluations, "reconstruction", at + "psnr", 0),
                             curve(evaluations, "without quantization", at + "unquantized", 2),
                             curve(evaluations, "k-means of raw patches", at + "kmeans", 1),
                             curve(evaluations, "mosaic", at + "mosaic", 3)};
  lines[2].dashed = lines[3].dashed = true;
  return chart("PSNR, held-out " + set + ", dB", lines, false);
}

/// The last evaluation as a table.
std::string table(const Json& evaluation) {
  std::ostringstream out;
  out << "<table><tr><th>held-out set<th>pictures<th>PSNR<th>above k-means<th>above "
         "mosaic<th>without "
         "quantization</tr>";
  for (const auto& [name, set] : evaluation.at("sets").items()) {
    const auto value = [&set = set](const char* key) {
      return set.value(key, Json()).is_number() ? set[key].get<double>() : NAN;
    };
    out << "<tr><td>" << escaped(name) << "<td>" << number(value("pictures")) << "<td>"
        << number(value("psnr")) << " dB<td>" << number(value("psnr") - value("kmeans")) << "<td>"
        << number(value("psnr") - value("mosaic")) << "<td>" << number(value("unquantized"))
        << "</tr>";
  }
  out << "</table>";
  return out.str();
}

const char* const kStyle =
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1320px;padding:0 "
    "1em;color:#1f2937}"
    "section{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;flex:1 1 600px}"
    "figcaption{font-weight:600}svg{width:100%}svg text{font:11px sans-serif;fill:#6b7280}"
    ".grid{stroke:#e5e7eb}.legend{margin:.2em 0 1em;font-size:13px}.legend span{margin-right:1em}"
    "table{border-collapse:collapse}td,th{padding:.2em .9em .2em 0;text-align:left}"
    "img{max-width:100%;image-rendering:auto}pre{background:#f3f4f6;padding:1em;overflow:auto}";

}  // namespace

void write_report(const std::string& folder) {
  std::vector<Json> steps, evaluations;
  std::ifstream in(folder + "/metrics.jsonl");
  for (std::string text; std::getline(in, text);) {
    Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!line.is_object() || !line.contains("step")) continue;
    if (line.value("type", "") == "step")
      steps.push_back(std::move(line));
    else if (line.value("type", "") == "eval")
      evaluations.push_back(std::move(line));
  }

  std::ostringstream html;
  html << "<!doctype html><meta charset=utf-8><title>" << escaped(folder) << "</title><style>"
       << kStyle << "</style>\n<h1>Training of "
       << escaped(std::filesystem::path(folder).filename().string()) << "</h1>\n";
  if (!steps.empty()) {
    const Json& last = steps.back();
    html << "<p>Step " << last["step"] << ", " << number(last.value("time_s", 0.0) / 60)
         << " minutes, " << number(100 * last.value("progress", 0.0)) << " % of the run; "
         << number(last.value("pictures_per_s", 0.0)) << " pictures/s, "
         << number(100 * last.value("waiting", 0.0))
         << " % of the time waiting for pictures.</p>\n";
  }
  // The tokenizer's evaluations hold sets of pictures, those of tasks metrics.
  const bool sets = !evaluations.empty() && evaluations.back().contains("sets");
  const bool metrics = !evaluations.empty() && evaluations.back().contains("metrics");
  if (sets) html << table(evaluations.back()) << "\n";
  html << "<section>\n";
  if (sets) {
    for (const auto& [name, set] : evaluations.back()["sets"].items()) {
      html << psnr_chart(evaluations, name);
    }
  }
  if (metrics) html << metric_charts(evaluations);
  if (!steps.empty()) {
    std::vector<Line> losses;
    const Json terms = steps.back().value("losses", Json::object());
    for (const auto& [name, value] : terms.items()) {
      losses.push_back(curve(steps, name, "/losses/" + name, int(losses.size())));
    }
    html << chart("Losses (unweighted; \"loss\" is what is lowered)", losses, true)
         << chart("Share of codes in use",
                  {curve(steps, "training, last 100 steps", "/usage", 0),
                   curve(evaluations, "held-out pictures", "/usage", 1)},
                  false)
         << chart("Perplexity of the codes",
                  {curve(steps, "training", "/perplexity", 0),
                   curve(evaluations, "held-out pictures", "/perplexity", 1)},
                  false)
         << chart("Learning rate", {curve(steps, "rate", "/rate", 0)}, false)
         << chart("Norm of the gradient", {curve(steps, "norm", "/gradient_norm", 0)}, true)
         << chart("Pictures a second", {curve(steps, "pictures/s", "/pictures_per_s", 0)}, false);
  }
  html << "</section>\n";
  if (sets) {
    html << "<h2>Held-out pictures: original | reconstruction</h2>\n"
         << picture(folder + "/samples.png") << "\n<h2>How they came about</h2>\n<p>originals<br>"
         << picture(folder + "/samples/originals.png") << "</p>\n";
  } else if (metrics && evaluations.back().contains("samples")) {
    html << "<h2>Samples</h2>\n"
         << sample_grid(folder, evaluations.back()["samples"]) << "<h2>How they came about</h2>\n";
  }
  // At most twenty evaluations, spread evenly, so that the file stays small.
  const size_t every = evaluations.size() / 20 + 1;
  for (size_t i = 0; i < evaluations.size(); ++i) {
    if (i % every != 0 && i + 1 != evaluations.size()) continue;
    const std::string step = evaluations[i]["step"].dump();
    const std::string strip = picture(folder + "/samples/" + step + ".png");
    if (!strip.empty()) html << "<p>step " << step << "<br>" << strip << "</p>\n";
  }
  write_file(folder + "/report.html", html.str());
}

}  // namespace lexel::train
