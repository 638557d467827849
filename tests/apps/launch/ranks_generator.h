#pragma once

#include <ATen/TensorOperators.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "apps/train/recipe_fields.h"
#include "tests/apps/train/generator/made_generator_data.h"
#include "tests/support/run_program.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/safetensors.h"

namespace lexel::tests {

/// After 8 steps in float32, sums cut differently.
constexpr double kTolerance = 2e-3;

/// `lexel train generator` on something tiny, by any number of processes.
class RanksGenerator : public testing::Test {
 protected:
  RanksGenerator() {
    made_tokenizer(folder_ / "tokenizer.safetensors");
    made_sprites(folder_ / "sprites.tar");
    write_file(path("text.model"), english_model());
    recipe_ = tiny_generator_recipe();
    recipe_.model.text_depth = 2;
    recipe_.model.depth = 4;
    recipe_.model.heads = 2;
    recipe_.schedule.steps = 8;
    recipe_.schedule.batch = 2;
    recipe_.schedule.accumulation = 4;
    recipe_.schedule.compute = "fp32";
    recipe_.schedule.optimizer = "adamw";
    recipe_.schedule.average = 0.9;
    recipe_.schedule.decay = "exponential";
    recipe_.schedule.final_rate = 1.0;  // the length of a run changes nothing
    recipe_.schedule.eval_steps = 100;
    recipe_.pretrain_text_steps = 0;
    recipe_.noise_most = recipe_.noise_blind = recipe_.noise_captions = "0";
    recipe_.places = "1";
    write_file(path("recipe.json"), lexel::train::recipe_fields::write(recipe_));
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  ProgramResult train(int64_t ranks, const std::string& output,
                      const std::vector<std::string>& more, bool resume = false) const {
    std::vector<std::string> arguments;
    if (ranks > 1)
      arguments = {LEXEL_BIN_DIR "/lexel", "launch", "-n", std::to_string(ranks), "--"};
    arguments.insert(
        arguments.end(),
        {LEXEL_BIN_DIR "/lexel", "train", "generator", "--output", path(output), "--sprites",
         path("sprites.tar"), "--tokenizer", path("tokenizer.safetensors"), "--text",
         path("text.model"), "--device", "cpu", "--weights", "fp32", "-q"});
    if (resume)
      arguments.emplace_back("--resume");
    else
      arguments.insert(arguments.end(), {"--recipe", path("recipe.json")});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments);
  }
  double difference(const std::string& a, const std::string& b) const {
    const auto one = SafetensorsFile(path(a + "/model.safetensors")).tensors();
    const auto other = SafetensorsFile(path(b + "/model.safetensors")).tensors();
    EXPECT_EQ(one.size(), other.size());
    double largest = 0.0;
    for (const auto& [name, tensor] : one)
      if (tensor.is_floating_point())
        largest = std::max(largest, (tensor - other.at(name)).abs().max().item<double>());
    return largest;
  }
  /// What the last evaluation of a run found.
  nlohmann::json metrics(const std::string& name) const {
    std::istringstream lines(read_text(path(name + "/metrics.jsonl")));
    nlohmann::json last;
    for (std::string line; std::getline(lines, line);) {
      const auto entry = nlohmann::json::parse(line);
      if (entry.at("type") == "eval") last = entry.at("metrics");
    }
    return last;
  }
  void expect_same_metrics(const std::string& a, const std::string& b) const {
    const nlohmann::json one = metrics(a), other = metrics(b);
    ASSERT_FALSE(one.empty());
    EXPECT_EQ(one.size(), other.size());
    for (const auto& [name, value] : one.items())
      EXPECT_NEAR(value.get<double>(), other.at(name).get<double>(), 1e-3) << b << ": " << name;
  }

  TemporaryFolder folder_;
  lexel::train::GeneratorRecipe recipe_;
};

}  // namespace lexel::tests
