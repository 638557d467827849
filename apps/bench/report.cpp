#include "apps/bench/report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "kernels/check.h"

namespace lexel::bench {
namespace {

using nlohmann::ordered_json;
using Line = std::array<std::string, 7>;

const Line kTitles = {"kernel", "case", "ours", "peer", "its time", "ratio", "ceiling used"};

/// Three digits, without an exponent below a million.
std::string three_digits(double value) {
  char text[32];
  const int decimals = value < 10 ? 2 : value < 100 ? 1 : 0;
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

double ceiling_share(const Report& report, const Row& row) {
  const auto ceiling = report.ceilings.find(row.ceiling);
  if (row.work <= 0.0 || row.timings.empty() || !row.timings.front().error.empty()) return 0.0;
  if (ceiling == report.ceilings.end() || ceiling->second <= 0.0) return 0.0;
  return row.work / row.timings.front().seconds / ceiling->second;
}

std::string ceiling_text(const Report& report, const Row& row) {
  const double share = ceiling_share(report, row);
  if (share <= 0.0) return "-";
  const double rate = row.work / row.timings.front().seconds * 1e-9;
  const bool tera = rate >= 1e4;
  return concat(std::lround(100.0 * share), " % of ", ceiling_name(row.ceiling), " (",
                three_digits(tera ? rate * 1e-3 : rate), tera ? " T" : " G",
                ceiling_unit(row.ceiling), ")");
}

/// One line for each peer; ours stands on the first.
std::vector<Line> lines_of(const Report& report) {
  std::vector<Line> lines;
  for (const Row& row : report.rows) {
    if (!row.error.empty()) {
      lines.push_back({row.kernel, row.name, "FAILED", row.error, "", "", ""});
      continue;
    }
    const Timing& ours = row.timings.front();
    Line line = {row.kernel,
                 row.name,
                 ours.error.empty() ? format_seconds(ours.seconds) : "FAILED",
                 "",
                 "",
                 "",
                 ceiling_text(report, row)};
    if (!ours.error.empty()) line[3] = ours.error;
    if (row.timings.size() == 1) lines.push_back(line);
    for (size_t i = 1; i < row.timings.size(); ++i) {
      const Timing& peer = row.timings[i];
      line[3] = peer.name;
      line[4] = peer.error.empty() ? format_seconds(peer.seconds) : "failed: " + peer.error;
      line[5] = peer.error.empty() && ours.error.empty()
                    ? three_digits(peer.seconds / ours.seconds) + " x"
                    : "";
      lines.push_back(line);
      line = {};
    }
  }
  return lines;
}

std::string gigabytes(int64_t bytes) {
  return concat(three_digits(static_cast<double>(bytes) / (1 << 30)), " GB");
}

/// Where and how, in a line or two.
std::string conditions(const Report& report) {
  const cli::MachineReport& machine = report.machine;
  std::string text;
  if (report.device == "cpu") {
    text = concat(machine.cpu, ", ", machine.threads, " of ", machine.cores, " cores, ",
                  machine.in_use.vectors, machine.in_use.bf16_dot ? ", bf16" : "",
                  machine.in_use.vnni ? ", VNNI" : "", machine.in_use.amx_bf16 ? ", AMX" : "", ", ",
                  report.date,
                  machine.threads == 1 ? "; CPU time of the thread, best sample"
                                       : "; wall time, best sample");
  } else {
    const auto version = [](int number) { return concat(number / 1000, ".", number % 1000 / 10); };
    text = concat(report.gpu.name, " (sm_", report.gpu.capability, ", ",
                  gigabytes(report.gpu.memory_bytes), "), CUDA ", version(report.gpu.runtime),
                  " (driver ", version(report.gpu.driver), "), ", report.date,
                  "; events around CUDA graphs, cold L2, median");
  }
  std::string ceilings;
  for (const auto& [ceiling, rate] : report.ceilings) {
    if (rate <= 0.0) continue;
    const bool tera = rate >= 1e13;
    ceilings += concat(ceilings.empty() ? "Ceilings measured: " : ", ", ceiling_name(ceiling), " ",
                       three_digits(rate * (tera ? 1e-12 : 1e-9)), tera ? " T" : " G",
                       ceiling_unit(ceiling));
  }
  return ceilings.empty() ? text : text + ".\n" + ceilings;
}

/// Characters as a terminal shows them: UTF-8 continuation bytes take no column.
size_t columns(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

const char* ceiling_name(Ceiling ceiling) {
  switch (ceiling) {
    case Ceiling::kFma:
      return "FMA";
    case Ceiling::kTensor:
      return "bf16 matmul";
    case Ceiling::kRead:
      return "read";
    case Ceiling::kUpdate:
      return "update";
    case Ceiling::kCache:
      return "cache";
    case Ceiling::kLaunch:
      return "none";
  }
  return "";
}

const char* ceiling_unit(Ceiling ceiling) {
  const bool is_memory =
      ceiling == Ceiling::kRead || ceiling == Ceiling::kUpdate || ceiling == Ceiling::kCache;
  return is_memory ? "B/s" : "FLOP/s";
}

std::string format_seconds(double seconds) {
  if (seconds >= 1.0) return three_digits(seconds) + " s";
  if (seconds >= 1e-3) return three_digits(seconds * 1e3) + " ms";
  if (seconds >= 1e-6) return three_digits(seconds * 1e6) + " us";
  return three_digits(seconds * 1e9) + " ns";
}

std::string as_text(const Report& report) {
  std::vector<Line> lines = lines_of(report);
  lines.insert(lines.begin(), kTitles);
  std::array<size_t, kTitles.size()> widths{};
  for (const Line& line : lines) {
    const size_t last = line[2] == "FAILED" ? 3 : line.size();  // its message may be long
    for (size_t i = 0; i < last; ++i) widths[i] = std::max(widths[i], columns(line[i]));
  }
  std::string text = conditions(report) + ".\n\n";
  for (const Line& line : lines) {
    std::string one;
    for (size_t i = 0; i < line.size(); ++i) {
      const bool number = i == 2 || i == 4 || i == 5;
      const std::string gap(widths[i] - std::min(widths[i], columns(line[i])), ' ');
      one += (i > 0 ? "  " : "") + (number ? gap + line[i] : line[i] + gap);
    }
    text += one.substr(0, one.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string as_markdown(const Report& report) {
  std::string text = conditions(report) + ".\n\n|";
  for (const std::string& title : kTitles) text += concat(" ", title, " |");
  text += "\n|";
  for (size_t i = 0; i < kTitles.size(); ++i) text += i == 2 || i == 4 || i == 5 ? "---:|" : "---|";
  text += "\n";
  for (Line line : lines_of(report)) {
    for (std::string& cell : line)
      std::replace(cell.begin(), cell.end(), '|', '/');  // | ends a cell
    if (!line[0].empty()) line[0] = concat("`", line[0], "`");
    text += "|";
    for (const std::string& cell : line) text += cell.empty() ? " |" : concat(" ", cell, " |");
    text += "\n";
  }
  return text;
}

std::string as_json(const Report& report) {
  const cli::MachineReport& machine = report.machine;
  ordered_json json = {
      {"device", report.device},
      {"date", report.date},
      {"machine",
       {{"cpu", machine.cpu},
        {"cores", machine.cores},
        {"threads", machine.threads},
        {"instruction_set", machine.in_use.vectors},
        {"bf16", machine.in_use.bf16_dot},
        {"vnni", machine.in_use.vnni},
        {"amx", machine.in_use.amx_bf16}}},
  };
  if (report.device != "cpu") {
    json["gpu"] = {{"name", report.gpu.name},
                   {"capability", report.gpu.capability},
                   {"multiprocessors", report.gpu.multiprocessors},
                   {"memory_bytes", report.gpu.memory_bytes},
                   {"l2_bytes", report.gpu.cache_bytes},
                   {"driver", machine.gpu_driver},
                   {"cuda_driver", report.gpu.driver},
                   {"cuda_runtime", report.gpu.runtime}};
  }
  json["ceilings"] = ordered_json::object();
  for (const auto& [ceiling, rate] : report.ceilings)
    json["ceilings"][ceiling_name(ceiling)] = rate;
  json["rows"] = ordered_json::array();
  for (const Row& row : report.rows) {
    ordered_json one = {{"kernel", row.kernel}, {"case", row.name}};
    if (!row.error.empty()) {
      one["error"] = row.error;
      json["rows"].push_back(one);
      continue;
    }
    one["checked"] = row.checked;
    one["ceiling"] = ceiling_name(row.ceiling);
    one["work"] = row.work;
    one["ceiling_used"] = ceiling_share(report, row);
    for (size_t i = 0; i < row.timings.size(); ++i) {
      const Timing& timing = row.timings[i];
      ordered_json contender = {{"name", timing.name}};
      if (timing.error.empty()) {
        contender["seconds"] = timing.seconds;
        contender["samples"] = timing.samples;
        if (report.device != "cpu") contender["graph"] = timing.graph;
        if (i > 0 && row.timings.front().error.empty())
          contender["ratio"] = timing.seconds / row.timings.front().seconds;
      } else {
        contender["error"] = timing.error;
      }
      if (i == 0) {
        one["ours"] = contender;
        one["peers"] = ordered_json::array();
      } else {
        one["peers"].push_back(contender);
      }
    }
    json["rows"].push_back(one);
  }
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace lexel::bench
