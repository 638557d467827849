#include "apps/train/tokenizer/trainer.h"

#include <atomic>
#include <chrono>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/safetensors.h"
#include "tokenizers/load.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::made_tar;
using tests::TemporaryFolder;
using tests::tiny_recipe;

class TrainerTest : public testing::Test {
 protected:
  TrainerTest() {
    options_.data = {made_tar(folder_ / "a.tar", "a", false, 24, 1),
                     made_tar(folder_ / "h.tar", "a", true, 8, 100)};
    options_.device = "cpu";
    options_.quiet = true;
  }

  /// A whole run by the command's own entry; returns its folder.
  std::string run(const std::string& name, const TrainRecipe& recipe, int64_t workers = 1) {
    options_.output = (folder_ / name).string();
    options_.recipe = options_.output + ".json";
    options_.workers = workers;
    options_.resume = false;
    write_file(options_.recipe, to_json(recipe));
    EXPECT_EQ(cli::run_train_tokenizer(options_), 0);
    return options_.output;
  }

  int resume(const std::string& output, int64_t workers) {
    cli::TrainOptions options = options_;
    options.output = output;
    options.recipe.clear();
    options.resume = true;
    options.workers = workers;
    return cli::run_train_tokenizer(options);
  }

  static std::vector<nlohmann::json> lines(const std::string& folder, const std::string& type) {
    std::vector<nlohmann::json> result;
    std::ifstream in(folder + "/metrics.jsonl");
    for (std::string line; std::getline(in, line);) {
      const auto json = nlohmann::json::parse(line, nullptr, false);
      if (json.is_object() && json.value("type", "") == type) result.push_back(json);
    }
    return result;
  }

  static std::map<std::string, at::Tensor> checkpoint(const std::string& folder) {
    return SafetensorsFile(folder + "/checkpoint.safetensors").tensors();
  }

  TemporaryFolder folder_;
  cli::TrainOptions options_;
};

void expect_equal_tensors(const std::map<std::string, at::Tensor>& a,
                          const std::map<std::string, at::Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(tensor.equal(b.at(name))) << name;
}

TEST_F(TrainerTest, ResumedRunIsTheUninterruptedOneBitForBitWhateverTheWorkers) {
  TrainRecipe recipe = tiny_recipe();
  recipe.compute = "bf16";
  recipe.rates = "encoder=0:0 0.3:0 0.3:0.5";
  recipe.quantized_share = "0:0.5 1:1";
  const std::string straight = run("straight", recipe, 1);

  // Stopped by a signal, as a user would, once some steps are done.
  std::thread stopper([this] {
    const std::string folder = (folder_ / "stopped").string();
    for (int i = 0; i < 3000 && lines(folder, "step").size() < 6; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    std::raise(SIGTERM);
  });
  const std::string stopped = run("stopped", recipe, 3);
  stopper.join();
  const size_t done = lines(stopped, "step").size();
  EXPECT_GE(done, 6u);
  ASSERT_LT(done, 20u) << "the run was over before the signal came";
  EXPECT_FALSE(std::filesystem::exists(stopped + "/model.safetensors"));

  EXPECT_EQ(resume(stopped, 2), 0);
  EXPECT_EQ(lines(stopped, "step").size(), 20u);
  expect_equal_tensors(checkpoint(straight), checkpoint(stopped));
}

TEST_F(TrainerTest, HeldOutPsnrRisesAndTheModelFileLoads) {
  TrainRecipe recipe = tiny_recipe();
  recipe.steps = 120;
  recipe.eval_steps = 60;
  recipe.rates = "encoder=0.25; linear_path=0.02";
  recipe.losses.commitment = 12.0;
  recipe.restart_unused_for = 0;
  recipe.log_every = 10;
  options_.weights = "fp32";
  options_.command = "lexel train tokenizer (a test)";
  const std::string folder = run("run", recipe);
  const auto evaluations = lines(folder, "eval");
  ASSERT_EQ(evaluations.size(), 3u);
  const auto psnr = [&](size_t i) { return evaluations[i]["sets"]["a"]["psnr"].get<double>(); };
  EXPECT_GT(psnr(2), psnr(0) + 0.3);
  EXPECT_TRUE(evaluations[0]["sets"]["a"]["mosaic"].is_number());
  EXPECT_TRUE(evaluations[0]["sets"]["a"]["kmeans"].is_number());
  const auto last = lines(folder, "step").back();
  for (const char* key :
       {"usage", "perplexity", "pictures_per_s", "waiting", "gradient_norm", "rate"}) {
    EXPECT_TRUE(last[key].is_number()) << key;
  }
  for (const char* file : {"report.html", "samples.png", "best.safetensors", "recipe.json"}) {
    EXPECT_TRUE(std::filesystem::exists(folder + "/" + file)) << file;
  }

  const auto tokenizer = load_image_tokenizer(folder + "/model.safetensors", "cpu");
  EXPECT_EQ(tokenizer->info().codebook_size, 32);
  const auto provenance = nlohmann::json::parse(tokenizer->info().provenance);
  EXPECT_EQ(provenance["command"], options_.command);
  EXPECT_EQ(provenance["steps"], 120);
  EXPECT_EQ(provenance["data"]["train"]["a"], 24);
  EXPECT_EQ(provenance["recipe"]["learning_rate"], 1e-3);
  EXPECT_TRUE(provenance["metrics"]["sets"]["a"]["psnr"].is_number());
}

TEST_F(TrainerTest, LossThatIsNotFiniteStopsWithStepAndTermAndKeepsTheCheckpoint) {
  TrainRecipe recipe = tiny_recipe();
  recipe.start = "plain";
  recipe.learning_rate = 1e30;  // the second step sees weights beyond float32
  recipe.warmup_steps = 0;
  recipe.clip_norm = 0.0;
  options_.output = (folder_ / "nan").string();
  options_.recipe = options_.output + ".json";
  write_file(options_.recipe, to_json(recipe));
  expect_error(ErrorKind::kBadData, "step 2: the loss term 'l2' is not finite",
               [&] { cli::run_train_tokenizer(options_); });
  parallel::Mesh mesh;  // of one
  TrainingState state;
  load_checkpoint(options_.output + "/checkpoint.safetensors", state, at::kCPU, mesh);
  EXPECT_EQ(state.step, 0);
}

TEST_F(TrainerTest, AdversarialPhaseTrainsTheDiscriminatorFromItsStart) {
  TrainRecipe recipe = tiny_recipe();
  recipe.steps = 6;
  recipe.losses.adversarial = 0.1;
  recipe.losses.r1_interval = 2;
  recipe.loss_factors = "adversarial=0:0 0.5:0 0.5:1";
  recipe.discriminator = {.image_size = 32, .channel_base = 64, .max_channels = 8, .group = 2};
  const auto steps = lines(run("gan", recipe), "step");
  ASSERT_EQ(steps.size(), 6u);
  EXPECT_FALSE(steps[2]["losses"].contains("adversarial"));
  EXPECT_TRUE(steps[3]["losses"].contains("adversarial"));
  EXPECT_TRUE(steps[3]["losses"].contains("discriminator"));
}

TEST_F(TrainerTest, MinutesEndTheRunWithItsProgressAtOne) {
  TrainRecipe recipe = tiny_recipe();
  recipe.steps = 0;
  recipe.minutes = 0.03;
  recipe.eval_steps = 0;
  recipe.eval_minutes = 0.01;
  const auto steps = lines(run("minutes", recipe), "step");
  EXPECT_GT(steps.size(), 20u);
  EXPECT_GT(steps.back()["progress"].get<double>(), 0.5);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "minutes" / "model.safetensors"));
}

TEST_F(TrainerTest, AccumulationIsOneStepOfALargerBatch) {
  TrainRecipe large = tiny_recipe(), parts = tiny_recipe();
  large.steps = parts.steps = 4;
  large.restart_unused_for = parts.restart_unused_for = 0;
  parts.batch = 2;
  parts.accumulation = 2;
  const auto a = checkpoint(run("large", large)), b = checkpoint(run("parts", parts));
  const std::string name = "weights/decoder.refine.out.weight";
  EXPECT_TRUE(a.at(name).allclose(b.at(name), 1e-2, 1e-4));
  EXPECT_GT(a.at(name).abs().max().item<float>(), 1e-3);
}

TEST_F(TrainerTest, OptionsThatCannotBeAreUsageErrors) {
  const std::string folder = run("run", [] {
    TrainRecipe recipe = tiny_recipe();
    recipe.steps = 1;
    return recipe;
  }());
  cli::TrainOptions options = options_;
  options.output.clear();
  expect_error(ErrorKind::kUsage, "--output is needed", [&] { cli::run_train_tokenizer(options); });
  options = options_;
  options.resume = true;
  expect_error(ErrorKind::kUsage, "leave --recipe out", [&] { cli::run_train_tokenizer(options); });
  options.recipe.clear();
  options.data.pop_back();
  options.data.push_back(made_tar(folder_ / "b.tar", "b", false, 3, 50));
  expect_error(ErrorKind::kUsage, "the data is not that of the checkpoint",
               [&] { cli::run_train_tokenizer(options); });
  options = options_;
  options.weights = "int8";
  expect_error(ErrorKind::kUsage, "--weights", [&] { cli::run_train_tokenizer(options); });
  options = options_;
  options.device = "tpu";
  expect_error(ErrorKind::kUsage, "device: expected", [&] { cli::run_train_tokenizer(options); });
  options = options_;
  options.output = (folder_ / "nothing").string();
  options.recipe.clear();
  options.resume = true;
  expect_error(ErrorKind::kIo, "checkpoint.safetensors",
               [&] { cli::run_train_tokenizer(options); });
}

}  // namespace
}  // namespace lexel::train
