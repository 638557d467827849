#include "apps/train/guide/guide_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/zeros.h>
#include <filesystem>
#include <gtest/gtest.h>

#include "apps/train/recipe_fields.h"
#include "tests/apps/train/spae/word_tar.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/guide_file.h"

namespace lexel::train {
namespace {

using tests::random_tensor;

GuideRecipe small_recipe() {
  GuideRecipe recipe;
  recipe.schedule.steps = 120;
  recipe.schedule.batch = 32;
  recipe.schedule.compute = "fp32";
  recipe.schedule.learning_rate = 3e-3;
  recipe.schedule.warmup_steps = 5;
  recipe.schedule.eval_steps = 1000;
  recipe.model = tests::small_guide().config;
  recipe.views = 2;
  recipe.photo_views = 2;
  recipe.photo_share = 0.25;
  return recipe;
}

/// Features that say which words a drawing shows, with noise.
at::Tensor telling_features(const WordPictures& pictures, bool held_out, int64_t count,
                            int64_t views, uint64_t seed) {
  const at::Tensor of_words = random_tensor(77, {20, vqgan::kDepthFeatures});
  at::Tensor features = random_tensor(seed, {count, views, vqgan::kDepthFeatures});
  for (int64_t i = 0; i < count; ++i) {
    const auto& words = held_out ? pictures.words_of_held_out(i) : pictures.words_of(i);
    for (const int64_t word : words.names) features.select(0, i).add_(of_words.select(0, word) * 2);
  }
  return features.to(at::kHalf);
}

class GuideTraining : public testing::Test {
 protected:
  GuideTraining() : tar((tests::write_word_tar(folder / "words.tar"), folder / "words.tar")) {}

  WordPictures pictures() const {
    return WordPictures({.inputs = {tar}, .image_size = 32, .seed = 1, .held_out = 100},
                        data::WordFinder(tests::small_table()));
  }
  FeatureBank bank(const WordPictures& of) const {
    return {telling_features(of, false, of.drawings(), 2, 1),
            (random_tensor(2, {of.photos(), 2, vqgan::kDepthFeatures}) * 4).to(at::kHalf),
            telling_features(of, true, of.held_out_drawings(), 1, 3).squeeze(1),
            (random_tensor(4, {of.held_out_photos(), vqgan::kDepthFeatures}) * 4).to(at::kHalf)};
  }

  tests::TemporaryFolder folder;
  const std::string tar;
  const spae::LexicalCodebook words = spae::make_lexical_codebook(tests::small_table().table, 8);
};

TEST_F(GuideTraining, LearnsToNameWhatFeaturesTellBetterThanThePrior) {
  WordPictures data = pictures();
  const GuideRecipe recipe = small_recipe();
  spae::DualEncoder guide = tests::small_guide();
  guide = fresh_guide(recipe.model, std::move(guide.eye), at::zeros({12}),
                      random_tensor(5, {1000, 12}), 1, at::kCPU);
  GuideTask task(recipe, std::move(guide), data, bank(data), words, at::kFloat);
  const std::string run = folder / "run";
  run_task(task, {.output = run, .device = "cpu", .command = "test", .quiet = true});
  const TaskEvaluation result = task.evaluate(0);
  EXPECT_GT(result.metrics.at("name@1"), 0.5);
  EXPECT_GT(result.metrics.at("name@5"), result.metrics.at("prior name@5"));
  EXPECT_EQ(result.metrics.at("photos told"), 1.0);
  EXPECT_EQ(result.samples.size(0), static_cast<int64_t>(result.captions.size()));
  // The file says what the task says.
  const spae::DualEncoder read = load_guide(run + "/model.safetensors", at::kCPU);
  const at::Tensor features = bank(data).held_out_drawings.to(at::kFloat);
  EXPECT_TRUE(at::equal(spae::guide_scores(read, features, words.semantics),
                        spae::guide_scores(task.guide(), features, words.semantics)));
}

TEST_F(GuideTraining, FeaturesAreComputedOnceForThesePicturesAndViews) {
  WordPictures data = pictures();
  const spae::DualEncoder guide = tests::small_guide();
  const std::string path = folder / "features.safetensors";
  const FeatureBank first = feature_bank(data, guide, 1, 1, path, true);
  EXPECT_EQ(first.drawings.sizes(), at::IntArrayRef({data.drawings(), 1, vqgan::kDepthFeatures}));
  const auto written = std::filesystem::last_write_time(path);
  const FeatureBank again = feature_bank(data, guide, 1, 1, path, true);
  EXPECT_TRUE(at::equal(again.drawings, first.drawings));
  EXPECT_EQ(std::filesystem::last_write_time(path), written);
  EXPECT_EQ(feature_bank(data, guide, 1, 2, path, true).photos.size(1), 2);
}

TEST_F(GuideTraining, ABatchDependsOnItsNumberAlone) {
  WordPictures data = pictures();
  const auto loss = [&](int64_t number) {
    GuideTask task(small_recipe(), tests::small_guide(), data, bank(data), words, at::kFloat);
    return task.loss(number, 0.5).loss.item<double>();
  };
  EXPECT_EQ(loss(3), loss(3));
  EXPECT_NE(loss(3), loss(4));
}

TEST(GuideRecipe, TheShippedOneIsRead) {
  const auto recipe = recipe_fields::read<GuideRecipe>(LEXEL_SOURCE_DIR "/recipes/guide.json");
  EXPECT_EQ(recipe.model.word_width, 384);
}

TEST(GuideRecipe, RejectsWhatCannotBe) {
  GuideRecipe recipe = small_recipe();
  recipe.schedule.compute = "bf16";
  tests::expect_error(ErrorKind::kUsage, "compute: expected fp32", [&] { validate(recipe); });
  recipe = small_recipe();
  recipe.hidden_dropout = 1.0;
  tests::expect_error(ErrorKind::kUsage, "hidden_dropout", [&] { validate(recipe); });
}

}  // namespace
}  // namespace lexel::train
