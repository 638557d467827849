#include "apps/train/provenance.h"

#include <ATen/Parallel.h>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace lexel::train {
namespace {

std::string first_line(const std::filesystem::path& path) {
  std::string line;
  std::ifstream in(path);
  std::getline(in, line);
  return line;
}

/// The commit that the source tree was at, or "unknown" away from a clone.
std::string revision() {
  const std::filesystem::path git = std::filesystem::path(LEXEL_SOURCE_DIR) / ".git";
  const std::string head = first_line(git / "HEAD");
  const std::string prefix = "ref: ";
  const std::string commit =
      head.rfind(prefix, 0) == 0 ? first_line(git / head.substr(prefix.size())) : head;
  return commit.empty() ? "unknown" : commit;
}

/// "model name : Intel(R) Xeon(R) ..." of the first processor.
std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[32] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

}  // namespace

std::string provenance_of_run(const RunFacts& facts) {
  nlohmann::ordered_json result = {
      {"command", facts.command},
      {"recipe", nlohmann::ordered_json::parse(facts.recipe)},
      {"data", nlohmann::ordered_json::parse(facts.data)},
      {"steps", facts.steps},
      {"pictures", facts.pictures},
      {"minutes", std::round(facts.elapsed_s / 6.0) / 10.0},
      {"seed", facts.seed},
      {"device", facts.device == "cpu"
                     ? processor() + ", " + std::to_string(at::get_num_threads()) + " threads"
                     : facts.device},
      {"revision", revision()},
      {"date", today()}};
  if (!facts.evaluation.empty()) {
    result["metrics"] = nlohmann::ordered_json::parse(facts.evaluation);
  }
  return result.dump();
}

}  // namespace lexel::train
