#include <ATen/Parallel.h>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "apps/train/options.h"
#include "apps/train/recipe_fields.h"
#include "autoregressive/generator_file.h"
#include "tests/apps/train/generator/made_generator_data.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/io/token_file.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::TemporaryFolder;
using tests::tiny_generator_recipe;

class TrainGenerator : public testing::Test {
 protected:
  TrainGenerator() {
    options_.tokenizer = tests::made_tokenizer(folder_ / "tokenizer.safetensors");
    options_.sprites = tests::made_sprites(folder_ / "sprites.tar");
    options_.text = path("text.model");
    write_file(options_.text, tests::english_model());
    options_.task.device = "cpu";
    options_.task.quiet = true;
    recipe_ = tiny_generator_recipe();
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  /// A whole run by the command's own entry.
  void run(const std::string& name, int64_t workers = 1) {
    options_.task.output = path(name);
    options_.task.recipe = path(name + ".json");
    options_.task.resume = false;
    options_.workers = workers;
    write_file(options_.task.recipe, recipe_fields::write(recipe_));
    cli::run_train_generator(options_);
  }
  void resume(const std::string& name, int64_t workers = 1) {
    options_.task.output = path(name);
    options_.task.recipe.clear();
    options_.task.resume = true;
    options_.workers = workers;
    cli::run_train_generator(options_);
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
  void expect_same_end(const std::string& a, const std::string& b) const {
    const auto one = read_model_file(path(a) + "/checkpoint.safetensors").tensors;
    const auto other = read_model_file(path(b) + "/checkpoint.safetensors").tensors;
    ASSERT_EQ(one.size(), other.size());
    for (const auto& [name, tensor] : one) EXPECT_TRUE(tensor.equal(other.at(name))) << name;
  }

  TemporaryFolder folder_;
  cli::TrainGeneratorOptions options_;
  GeneratorRecipe recipe_;
};

TEST_F(TrainGenerator, LossFallsAndTheModelFileLoads) {
  recipe_.schedule.steps = 80;
  recipe_.schedule.eval_steps = 40;
  recipe_.schedule.log_every = 10;
  recipe_.schedule.learning_rate = 1e-2;
  options_.weights = "fp32";
  recipe_.samples = 3;
  run("run");
  EXPECT_EQ(lines("run", "eval")[1]["samples"]["captions"].size(), 3u);
  EXPECT_TRUE(std::filesystem::exists(path("run/samples/80.png")));
  const auto evaluations = lines("run", "eval");
  ASSERT_EQ(evaluations.size(), 3u);
  const auto nll = [&](size_t i, const char* set) {
    return evaluations[i]["metrics"][set].get<double>();
  };
  EXPECT_LT(nll(2, "nll/scenes"), nll(0, "nll/scenes") - 0.5);
  EXPECT_GT(evaluations[2]["metrics"].size(), 1u);  // by kind of scene too

  const auto generator = ar::load_generator(path("run/model.safetensors"), at::kCPU);
  EXPECT_EQ(generator.model.config.text_vocabulary, 311);
  EXPECT_EQ(generator.text->serialized(), tests::english_model());
  const auto file = read_model_file(path("run/model.safetensors"));
  const auto provenance = nlohmann::json::parse(file.provenance);
  EXPECT_EQ(provenance["recipe"]["scenes"], 30);
  EXPECT_EQ(provenance["data"]["held_out_fingerprint"].get<std::string>().size(), 64u);
  EXPECT_EQ(provenance["data"]["train"]["scenes"], 30);
}

TEST_F(TrainGenerator, ResumedRunIsTheUninterruptedOneWhateverTheWorkersAndTheCache) {
  recipe_.dropout = 0.1;
  recipe_.schedule.steps = 16;
  options_.data = {tests::made_captioned(folder_ / "a.tar", "a", 12)};
  run("straight");
  // Stopped by a signal, as a user would, once some steps are done.
  std::thread stopper([this] {
    for (int i = 0; i < 3000 && lines("stopped", "step").size() < 5; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    std::raise(SIGTERM);
  });
  options_.cache = path("cache.safetensors");
  run("stopped", 3);
  stopper.join();
  ASSERT_LT(lines("stopped", "step").size(), 16u) << "the run was over before the signal came";
  EXPECT_FALSE(std::filesystem::exists(path("stopped/model.safetensors")));
  EXPECT_TRUE(std::filesystem::exists(options_.cache));
  resume("stopped", 2);
  EXPECT_EQ(lines("stopped", "step").size(), 16u);
  expect_same_end("straight", "stopped");
}

TEST_F(TrainGenerator, FromStartsWithTheWeightsOfAnotherRun) {
  recipe_.schedule.steps = 30;
  recipe_.schedule.learning_rate = 1e-2;
  options_.weights = "fp32";
  run("first");
  const double reached = lines("first", "eval").back()["metrics"]["nll/scenes"].get<double>();
  options_.from = path("first/model.safetensors");
  const std::string text = std::exchange(options_.text, "");
  recipe_.schedule.steps = 1;
  recipe_.model.depth += 1;  // the file's sizes count
  recipe_.noise_captions = "0.5";
  recipe_.noise_most = "0:0.5 1:0.1";
  recipe_.noise_blind = "0.5";
  run("second");
  EXPECT_NEAR(lines("second", "eval")[0]["metrics"]["nll/scenes"].get<double>(), reached, 1e-4);
  const auto provenance =
      nlohmann::json::parse(read_model_file(path("second/model.safetensors")).provenance);
  EXPECT_EQ(provenance["from"]["steps"], 30);
  options_.text = text;
  expect_error(ErrorKind::kUsage, "leave --text out", [&] { run("third"); });
}

TEST_F(TrainGenerator, WhoTokenizesMakesNoDifference) {
  recipe_.schedule.steps = 3;
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  run("workers");
  at::set_num_threads(2);
  run("trainer");
  at::set_num_threads(threads);
  EXPECT_NEAR(lines("workers", "step")[2]["losses"]["loss"].get<double>(),
              lines("trainer", "step")[2]["losses"]["loss"].get<double>(), 1e-5);
}

TEST_F(TrainGenerator, CacheIsATokenFileThatSparesTheNextRunItsScenes) {
  options_.cache = path("cache.safetensors");
  run("first");
  const TokenFile cache = read_token_file(options_.cache);
  EXPECT_EQ(cache.pictures.size(), 30u);  // 48 samples see all of 30 scenes
  EXPECT_FALSE(cache.pictures[0].caption.empty());
  run("second");
  expect_same_end("first", "second");
  recipe_.schedule.seed = 2;  // other scenes
  expect_error(ErrorKind::kBadData, "was made from other sprites", [&] { run("third"); });
}

TEST_F(TrainGenerator, TokenFilesTrainAsThePicturesThatTheyWereMadeFrom) {
  options_.cache = path("scenes.safetensors");
  run("first");
  options_.cache.clear();
  options_.sprites.clear();
  options_.data = {path("scenes.safetensors")};
  recipe_.eval_pictures = 2;
  run("tokens");
  EXPECT_TRUE(lines("tokens", "eval").back()["metrics"]["nll/scenes"].is_number());
  options_.tokenizer = tests::made_tokenizer(folder_ / "other.safetensors", 2);
  expect_error(ErrorKind::kBadData, "the tokens were made by another model", [&] { run("none"); });
}

TEST_F(TrainGenerator, ClassesComeFromTheJsonOrFromEqualCaptions) {
  options_.sprites.clear();
  options_.text.clear();
  options_.data = {tests::made_captioned(folder_ / "a.tar", "a", 16)};
  recipe_.model.text_depth = 0;
  recipe_.model.classes = 2;
  run("classes");
  const auto generator = ar::load_generator(path("classes/model.safetensors"), at::kCPU);
  EXPECT_EQ(generator.model.config.classes, 2);
  EXPECT_EQ(generator.text, nullptr);
  recipe_.model.classes = 0;  // unconditional
  recipe_.samples = 2;
  recipe_.schedule.steps = 2;
  run("unconditional");
  EXPECT_EQ(lines("unconditional", "eval").back()["samples"]["count"], 2);
  recipe_.model.classes = 1;
  expect_error(ErrorKind::kUsage, "the data has a class 1, model.classes is 1",
               [&] { run("too few"); });
}

TEST_F(TrainGenerator, TrainsItsOwnTextTokenizerAndKeepsItForResume) {
  options_.text.clear();
  recipe_.model.text_vocabulary = 300;
  recipe_.schedule.steps = 2;
  run("run");
  const auto first = read_file(path("run/text.model"), 1 << 24);
  options_.task.steps = 4;
  resume("run");
  EXPECT_EQ(lines("run", "step").size(), 4u);
  EXPECT_EQ(read_file(path("run/text.model"), 1 << 24), first);
}

TEST_F(TrainGenerator, AdafactorAndAccumulationTrainToo) {
  recipe_.schedule.optimizer = "adafactor_int8";
  recipe_.schedule.epsilon = 1e-30;
  recipe_.schedule.accumulation = 2;
  recipe_.schedule.steps = 4;
  recipe_.rematerialize = true;
  run("run");
  EXPECT_EQ(lines("run", "step").size(), 4u);
}

TEST_F(TrainGenerator, ExpertsLearnByTokenAndByTheSourceOfPictures) {
  recipe_.model.experts = 4;
  recipe_.model.depth = 2;
  recipe_.schedule.steps = 8;
  recipe_.schedule.log_every = 4;
  recipe_.samples = 2;
  options_.data = {tests::made_captioned(folder_ / "a.tar", "a", 12)};
  run("token");
  recipe_.model.routing = "task";
  recipe_.model.tasks = 2;
  run("task");
  for (const char* const name : {"token", "task"}) {
    const auto steps = lines(name, "step");
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_GE(steps[1]["losses"]["auxiliary"].get<double>(), 0.9) << name;
    EXPECT_GE(steps[1]["losses"]["expert entropy"].get<double>(), 0.0) << name;
    EXPECT_LE(steps[1]["losses"]["expert entropy"].get<double>(), 1.0) << name;
    const auto generator = ar::load_generator(path(name) + "/model.safetensors", at::kCPU);
    EXPECT_EQ(generator.model.config.experts, 4);
    EXPECT_EQ(generator.model.config.routing, name);
  }
  recipe_.model.tasks = 1;
  expect_error(ErrorKind::kUsage, "model.tasks: expected at least 2, one for each source",
               [&] { run("few"); });
}

TEST_F(TrainGenerator, TextEncoderIsPreTrainedFirstByMaskedPieces) {
  recipe_.pretrain_text_steps = 60;
  recipe_.schedule.steps = 66;
  recipe_.schedule.eval_steps = 100;
  recipe_.schedule.learning_rate = 1e-2;
  run("run");
  const auto steps = lines("run", "step");
  const auto masked = [&](size_t i) { return steps[i]["losses"]["masked pieces"].get<double>(); };
  EXPECT_LT(masked(59), masked(0) - 1.0);
  EXPECT_FALSE(steps[60]["losses"].contains("masked pieces"));
  const auto model = read_model_file(path("run/model.safetensors"));
  for (const auto& [name, tensor] : model.tensors) {
    EXPECT_EQ(name.find("pretraining"), std::string::npos) << name;
  }
  recipe_.schedule.steps = 59;  // ends before its end, and goes on
  run("parts");
  options_.task.steps = 66;
  resume("parts");
  EXPECT_EQ(lines("parts", "step").size(), 66u);
}

TEST_F(TrainGenerator, WhatCannotBeIsSaidBeforeTheFirstStep) {
  recipe_.model.grid_width = 5;
  expect_error(ErrorKind::kUsage, "model.grid_width: expected 4, as tokenizer.safetensors has",
               [&] { run("grid"); });
  recipe_ = tiny_generator_recipe();
  recipe_.model.text_vocabulary = 500;
  expect_error(ErrorKind::kUsage,
               "the text tokenizer has 311 pieces, model.text_vocabulary is 500 (--set "
               "model.text_vocabulary=311)",
               [&] { run("vocabulary"); });
  recipe_ = tiny_generator_recipe();
  recipe_.mixture = "scenes=1 emoji=1";
  expect_error(ErrorKind::kUsage, "no source 'emoji'; sources are scenes", [&] { run("mixture"); });
  recipe_.mixture.clear();
  recipe_.start = "cold";
  expect_error(ErrorKind::kBadData, "start: expected plain or codes", [&] { run("start"); });
  recipe_.start = "plain";
  options_.data = {tests::made_captioned(folder_ / "b.tar", "b", 8, /*captioned=*/false)};
  expect_error(ErrorKind::kUsage, "no picture to learn from has a caption", [&] { run("b"); });
  options_.data.clear();
  options_.sprites.clear();
  expect_error(ErrorKind::kUsage, "--sprites or --data is needed", [&] { run("nothing"); });
}

TEST_F(TrainGenerator, ResumeRefusesARecipeBesideItAndOtherFields) {
  recipe_.schedule.steps = 2;
  run("run");
  options_.task.resume = true;
  expect_error(ErrorKind::kUsage, "leave --recipe out",
               [&] { cli::run_train_generator(options_); });
  options_.task.settings = {"dropout=0.3"};
  expect_error(ErrorKind::kUsage, "dropout is 0.3, was 0.1", [&] { resume("run"); });
  options_.task.settings = {"drop_out=0.3"};
  expect_error(ErrorKind::kUsage, "no field 'drop_out'", [&] { resume("run"); });
}

TEST_F(TrainGenerator, LossThatIsNotFiniteNamesTheStep) {
  recipe_.schedule.learning_rate = 1e30;
  recipe_.schedule.warmup_steps = 0;
  recipe_.schedule.clip_norm = 0;
  expect_error(ErrorKind::kBadData, "step 2: ", [&] { run("nan"); });
}

TEST(GeneratorRecipe, ShippedRecipesAreValid) {
  for (const char* name : {"parti-lexel-128", "parti-lexel-128-gpu", "parti-350m", "vim-fashion"}) {
    SCOPED_TRACE(name);
    recipe_fields::read<GeneratorRecipe>(std::string(LEXEL_SOURCE_DIR) + "/recipes/" + name +
                                         ".json");
  }
}

}  // namespace
}  // namespace lexel::train
