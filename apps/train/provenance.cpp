#include "apps/train/provenance.h"

#include <ATen/Parallel.h>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>

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

nlohmann::ordered_json provenance_of_data(const TrainingData& data) {
  nlohmann::ordered_json sets = nlohmann::ordered_json::object();
  for (const PictureSet& set : data.pool.sets) sets[set.name] = set.pictures;
  nlohmann::ordered_json held_out = nlohmann::ordered_json::object();
  for (const HeldOutSet& set : data.held_out) held_out[set.name] = set.pictures;
  return {{"train", sets},
          {"held_out", held_out},
          {"skipped", data.pool.skipped.size()},
          {"max_side", data.pool.max_side},
          {"fingerprint", data.pool.fingerprint}};
}

std::string provenance_of_run(const cli::TrainOptions& options, const TrainingState& state,
                              const TrainingData& data, const std::string& device, double elapsed_s,
                              const std::string& evaluation) {
  const TrainRecipe& recipe = state.recipe;
  nlohmann::ordered_json result = {
      {"command", options.command},
      {"recipe", nlohmann::ordered_json::parse(to_json(recipe))},
      {"data", provenance_of_data(data)},
      {"steps", state.step},
      {"pictures", state.step * recipe.batch * recipe.accumulation},
      {"minutes", std::round(elapsed_s / 6.0) / 10.0},
      {"seed", recipe.seed},
      {"device", device == "cpu"
                     ? processor() + ", " + std::to_string(at::get_num_threads()) + " threads"
                     : device},
      {"revision", revision()},
      {"date", today()}};
  if (!evaluation.empty()) result["metrics"] = nlohmann::ordered_json::parse(evaluation);
  return result.dump();
}

}  // namespace lexel::train
