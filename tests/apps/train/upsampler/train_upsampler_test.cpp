#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <thread>

#include "apps/eval/upsampler/options.h"
#include "apps/train/options.h"
#include "apps/train/recipe_fields.h"
#include "apps/train/upsampler/recipe.h"
#include "tests/apps/train/generator/made_generator_data.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/upsampler.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;

// A tokenizer of 32 pixels, pictures of 70 x 80, an upsampler from 32 to 64.
class TrainUpsampler : public testing::Test {
 protected:
  TrainUpsampler() {
    options_.tokenizer = tests::made_tokenizer(folder_ / "tokenizer.safetensors");
    options_.data = {write_pictures()};
    options_.weights = "fp32";
    options_.task.device = "cpu";
    options_.task.quiet = true;
    recipe_.model = {.scale = 2, .width = 8, .blocks = 1, .expansion = 2};
    recipe_.perceptual = 0.0;
    recipe_.min_side = 64;
    recipe_.schedule.steps = 12;
    recipe_.schedule.batch = 2;
    recipe_.schedule.learning_rate = 2e-3;
    recipe_.schedule.warmup_steps = 2;
    recipe_.schedule.eval_steps = 6;
    recipe_.schedule.log_every = 1;
  }

  std::string write_pictures() const {
    const std::string path = folder_ / "pictures.tar";
    TarWriter tar(path);
    for (uint64_t i = 0; i < 8; ++i) {
      const auto png = encode_image(tests::made_picture(i, 70, 80), "png");
      const std::string json = std::string("{\"set\": \"made\", \"split\": \"") +
                               (i % 4 == 3 ? "heldout" : "train") + "\"}";
      tar.add(std::to_string(i) + ".png", png.data(), png.size());
      tar.add(std::to_string(i) + ".json", reinterpret_cast<const uint8_t*>(json.data()),
              json.size());
    }
    tar.close();
    return path;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void run(const std::string& name) {
    options_.task.output = path(name);
    options_.task.recipe = path(name + ".json");
    options_.task.resume = false;
    write_file(options_.task.recipe, recipe_fields::write(recipe_));
    cli::run_train_upsampler(options_);
  }
  std::vector<nlohmann::json> lines(const std::string& name, const std::string& type) const {
    std::vector<nlohmann::json> result;
    std::ifstream in(path(name) + "/metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
      auto json = nlohmann::json::parse(line, nullptr, false);
      if (json.is_object() && json.value("type", "") == type) result.push_back(std::move(json));
    }
    return result;
  }

  TemporaryFolder folder_;
  cli::TrainUpsamplerOptions options_;
  UpsamplerRecipe recipe_;
};

TEST_F(TrainUpsampler, StartsAtBicubicAndGains) {
  recipe_.schedule.steps = 60;
  recipe_.schedule.eval_steps = 30;
  run("run");
  const auto found = lines("run", "eval");
  ASSERT_GE(found.size(), 2u);
  EXPECT_NEAR(found.front()["metrics"]["gain/made"].get<double>(), 0.0, 1e-4);
  EXPECT_GT(found.back()["metrics"]["gain/made"].get<double>(), 0.2);
  const auto upsampler = load_upsampler(path("run/model.safetensors"), "cpu");
  EXPECT_EQ(upsampler->scale(), 2);
  EXPECT_TRUE(std::filesystem::exists(path("run/samples.png")));
}

TEST_F(TrainUpsampler, ResumedRunEqualsAnUninterruptedOne) {
  recipe_.schedule.steps = 40;
  run("whole");
  // Stopped by a signal, as a user would, once some steps are done.
  std::thread stopper([this] {
    for (int i = 0; i < 3000 && lines("parts", "step").size() < 5; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::raise(SIGTERM);
  });
  run("parts");
  stopper.join();
  ASSERT_LT(lines("parts", "step").size(), 40u) << "the run was over before the signal came";
  options_.task.recipe.clear();
  options_.task.resume = true;
  options_.workers = 2;
  cli::run_train_upsampler(options_);
  const auto one = read_model_file(path("whole/checkpoint.safetensors")).tensors;
  const auto other = read_model_file(path("parts/checkpoint.safetensors")).tensors;
  ASSERT_EQ(one.size(), other.size());
  for (const auto& [name, tensor] : one) EXPECT_TRUE(tensor.equal(other.at(name))) << name;
}

TEST_F(TrainUpsampler, RefusesWhatCannotBe) {
  recipe_.perceptual = 0.1;
  expect_error(ErrorKind::kUsage, "needs --perceptual FILE", [&] { run("a"); });
  recipe_.l2 = recipe_.perceptual = 0.0;
  expect_error(ErrorKind::kBadData, "l2", [&] { run("b"); });
  recipe_.l2 = 1.0;
  recipe_.model.scale = 1;
  expect_error(ErrorKind::kBadData, "scale", [&] { run("c"); });
  recipe_.model.scale = 2;
  recipe_.min_side = 100;  // no picture is so large
  expect_error(ErrorKind::kUsage, "", [&] { run("d"); });
  recipe_.min_side = 64;
  options_.weights = "int8";
  expect_error(ErrorKind::kUsage, "--weights", [&] { run("e"); });
}

TEST_F(TrainUpsampler, ShippedRecipesAreSound) {
  for (const char* name : {"upsampler-small", "upsampler-parti"}) {
    const auto recipe = recipe_fields::read<UpsamplerRecipe>(std::string(LEXEL_SOURCE_DIR) +
                                                             "/recipes/" + name + ".json");
    EXPECT_EQ(recipe.model.scale, 2);
  }
}

TEST_F(TrainUpsampler, EvalComparesWithBicubic) {
  vqgan::Upsampler fresh = vqgan::make_upsampler(recipe_.model, 1, at::kCPU);
  write_model_file(path("fresh"), upsampler_file(fresh));
  cli::EvalUpsamplerOptions options{.upsampler = path("fresh"),
                                    .model = options_.tokenizer,
                                    .data = options_.data,
                                    .output = path("report.json"),
                                    .sheet = path("sheet.png"),
                                    .device = "cpu",
                                    .quiet = true};
  EXPECT_EQ(cli::run_eval_upsampler(options), 0);
  const auto bytes = read_file(options.output, 1 << 20);
  const auto report = nlohmann::json::parse(bytes);
  EXPECT_EQ(report.at("pictures"), 8);
  EXPECT_EQ(report.at("too small, left out"), 0);
  EXPECT_NEAR(report.at("metrics").at("gain over bicubic (dB)").at("value").get<double>(), 0, 1e-5);
  EXPECT_GT(report.at("metrics").at("PSNR (dB)").at("value").get<double>(), 3.0);
  EXPECT_EQ(read_image(options.sheet).height() > 8 * 60, true);

  options.limit = 1;
  expect_error(ErrorKind::kUsage, "expected two pictures of 64 pixels",
               [&] { cli::run_eval_upsampler(options); });
  options.upsampler = options_.tokenizer;
  expect_error(ErrorKind::kUnsupported, "expected a model of kind upsampler",
               [&] { cli::run_eval_upsampler(options); });
}

}  // namespace
}  // namespace lexel::train
