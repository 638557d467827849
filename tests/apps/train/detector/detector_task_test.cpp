#include "apps/train/detector/detector_task.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/eval/detector/detector_file.h"
#include "apps/train/detector/recipe.h"
#include "apps/train/recipe_fields.h"
#include "tests/apps/eval/detector/made_sprites.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tests/vqgan/tiny_model.h"
#include "tokenizers/vit_vqgan_file.h"

namespace lexel::train {
namespace {

class DetectorTaskTest : public testing::Test {
 protected:
  DetectorTaskTest() {
    vqgan::Config config = tests::tiny_config();
    config.image_size = 128;
    config.patch_size = 16;
    vqgan::Model model = vqgan::make_model(config, 1, at::kCPU);
    Preprocess preprocess;
    preprocess.image_size = config.image_size;
    data_.tokenizer = folder_ / "tokenizer";
    write_model_file(data_.tokenizer, vit_vqgan_file(model, preprocess));
    data_.sprites = tests::made_sprites(folder_ / "sprites.tar");

    recipe_.schedule.steps = 6;
    recipe_.schedule.batch = 4;
    recipe_.schedule.learning_rate = 1e-2;
    recipe_.schedule.warmup_steps = 1;
    recipe_.schedule.eval_steps = 3;
    recipe_.fine_width = recipe_.middle_width = recipe_.coarse_width = recipe_.hidden = 8;
    recipe_.middle_blocks = recipe_.coarse_blocks = 1;
    recipe_.decoded_first = 4;
    recipe_.decoded_window = 6;
    recipe_.eval_scenes = 4;
  }

  std::unique_ptr<Task> task() const {
    return make_detector_task(recipe_fields::write(recipe_), data_, "cpu");
  }

  tests::TemporaryFolder folder_;
  DetectorData data_;
  DetectorRecipe recipe_;
};

TEST_F(DetectorTaskTest, ABatchDependsOnItsNumberAlone) {
  const auto one = task(), other = task();
  one->loss(0, 0.0);
  one->loss(1, 0.0);
  EXPECT_EQ(one->loss(5, 0.0).loss.item<double>(), other->loss(5, 0.0).loss.item<double>());
  EXPECT_NE(one->loss(5, 0.0).loss.item<double>(), other->loss(6, 0.0).loss.item<double>());
}

TEST_F(DetectorTaskTest, TheLossOfABatchFalls) {
  const auto training = task();
  tests::Adam adam(training->parameters());
  const double before = training->loss(0, 0.0).loss.item<double>();
  for (int i = 0; i < 30; ++i) adam.step(training->loss(0, 0.0).loss, 1e-2);
  EXPECT_LT(training->loss(0, 0.0).loss.item<double>(), 0.6 * before);
}

TEST_F(DetectorTaskTest, ARunLeavesADetectorThatLoads) {
  const auto training = task();
  const std::string output = folder_ / "run";
  run_task(*training, {.output = output, .device = "cpu", .command = "test", .quiet = true});
  const ModelFile file = read_model_file(output + "/model.safetensors");
  const eval::Detector detector = eval::read_detector(file, "model", at::kCPU);
  EXPECT_EQ(detector.config.things, "bar|cross|disc|square");
  EXPECT_EQ(eval::split_names(detector.config.backgrounds).back(), "photo");
  EXPECT_EQ(nlohmann::json::parse(file.provenance)["data"]["things"], 4);
  EXPECT_NE(file.license, "");
}

TEST_F(DetectorTaskTest, TheJudgementOfTrainingScenesIsInTheEvaluation) {
  const auto training = task();
  const TaskEvaluation result = training->evaluate(0);
  EXPECT_EQ(result.samples.sizes(), at::IntArrayRef({4, 3, 128, 128}));
  EXPECT_EQ(result.captions.size(), 4u);
  for (const char* name :
       {"threshold", "presence, composed", "count, decoded", "all of the caption, decoded"})
    EXPECT_EQ(result.metrics.count(name), 1u) << name;
  EXPECT_GE(result.score, 0.0);
  EXPECT_LE(result.score, 1.0);
}

TEST_F(DetectorTaskTest, RefusesWhatCannotBe) {
  using tests::expect_error;
  recipe_.paste.canvas = 64;  // not in the recipe's fields: the tokenizer says the size
  recipe_.decoded = 2.0;
  expect_error(ErrorKind::kBadData, "decoded: expected 0..1, got 2", [&] { task(); });
  recipe_.decoded = 0.5;
  recipe_.schedule.compute = "bf16";
  expect_error(ErrorKind::kBadData, "compute", [&] { task(); });
}

TEST(DetectorRecipe, TheOneThatShipsIsWhole) {
  const auto recipe =
      recipe_fields::read<DetectorRecipe>(LEXEL_SOURCE_DIR "/recipes/detector-128.json");
  EXPECT_GT(recipe.schedule.minutes, 0);
}

}  // namespace
}  // namespace lexel::train
