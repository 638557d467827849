#include "apps/train/spae/spae_task.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/train/recipe_fields.h"
#include "tests/apps/train/spae/word_tar.h"
#include "tests/spae/tiny_spae.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/guide_file.h"
#include "tokenizers/spae_file.h"

namespace lexel::train {
namespace {

using ::testing::Contains;
using ::testing::Key;

SpaeRecipe small_recipe() {
  SpaeRecipe recipe;
  recipe.schedule.steps = 4;
  recipe.schedule.batch = 4;
  recipe.schedule.compute = "fp32";
  recipe.schedule.decay =
      "exponential";  // with a last rate of 1 the length of a run changes nothing
  recipe.schedule.final_rate = 1.0;
  recipe.schedule.warmup_steps = 0;
  recipe.schedule.eval_steps = 1000;
  recipe.quantization = "1";
  recipe.commitment = "1";
  recipe.model = tests::tiny_spae("vit");
  recipe.model.num_words = 20;
  recipe.model.feature_width = vqgan::kDepthFeatures;
  recipe.model.feature_hidden = 16;
  recipe.views = 2;
  recipe.known_words = 8;
  recipe.held_out = 8;
  recipe.drawn_held_out = 2;
  recipe.feature_dropout = "0.3";
  return recipe;
}

class SpaeTraining : public testing::Test {
 protected:
  SpaeTraining()
      : tar((tests::write_word_tar(folder / "words.tar"), folder / "words.tar")),
        pictures({.inputs = {tar}, .image_size = 16, .seed = 1, .held_out = 8},
                 data::WordFinder(tests::small_table())) {}

  SpaeData data() {
    SpaeData result;
    result.pictures = &pictures;
    result.guide = &guide;
    result.words = spae::make_lexical_codebook(tests::small_table().table, 8);
    return result;
  }
  SpaeTask task(const SpaeRecipe& recipe) { return {recipe, data(), at::kFloat, at::kCPU}; }
  void run(const SpaeRecipe& recipe, const std::string& name, bool resume = false) {
    SpaeTask fresh = task(recipe);
    run_task(fresh, {.output = folder / name,
                     .resume = resume,
                     .device = "cpu",
                     .command = "test",
                     .quiet = true});
  }
  spae::Model read(const std::string& name) const {
    const std::string path = folder / (name + "/model.safetensors");
    return spae_model(read_model_file(path), path, at::kCPU);
  }

  tests::TemporaryFolder folder;
  const std::string tar;
  WordPictures pictures;
  const spae::DualEncoder guide = tests::small_guide();
};

TEST_F(SpaeTraining, AResumedRunEqualsTheUninterruptedOne) {
  SpaeRecipe recipe = small_recipe();
  recipe.loss.adversarial = 0.1;
  recipe.loss.lecam = 0.01;
  recipe.discriminator_base = 128;
  recipe.discriminator_channels = 8;
  run(recipe, "whole");
  SpaeRecipe half = recipe;
  half.schedule.steps = 2;
  run(half, "parts");
  run(recipe, "parts", /*resume=*/true);
  spae::Model whole = read("whole"), parts = read("parts");
  const auto expected = named_tensors(parameters(whole));
  for (const auto& [name, tensor] : named_tensors(parameters(parts)))
    EXPECT_TRUE(at::equal(tensor, expected.at(name))) << name;
}

TEST(DroppedFeatures, KeepTheirMeanAndDependOnSeedAndNumberOnly) {
  const at::Tensor features = tests::random_tensor(1, {400, 10}) + 3.0, mean = at::full({10}, 2.0F);
  EXPECT_TRUE(dropped_features(features, mean, 0.0, 1, 5).is_same(features));
  const at::Tensor dropped = dropped_features(features, mean, 0.25, 1, 5);
  EXPECT_NEAR(dropped.eq(mean).to(at::kDouble).mean().item<double>(), 0.25, 0.03);
  EXPECT_NEAR(dropped.mean().item<double>(), features.mean().item<double>(), 0.05);
  EXPECT_TRUE(at::equal(dropped, dropped_features(features, mean, 0.25, 1, 5)));
  EXPECT_FALSE(at::equal(dropped, dropped_features(features, mean, 0.25, 1, 6)));
}

TEST_F(SpaeTraining, TheFileHoldsTheModelAndTheGuidesEye) {
  run(small_recipe(), "run");
  const std::string path = folder / "run/model.safetensors";
  const ModelFile file = read_model_file(path);
  const auto eye = eye_of(file, path, at::kCPU);
  ASSERT_TRUE(eye.has_value());
  EXPECT_EQ(eye->config.image_size, 32);
  EXPECT_EQ(read("run").codebook.words, tests::small_table().table.words);
}

TEST_F(SpaeTraining, AnEvaluationSaysWordsUsageAndPsnrBesideTheirBounds) {
  SpaeTask fresh = task(small_recipe());
  const TaskEvaluation result = fresh.evaluate(0);
  for (const char* name :
       {"name@5", "any@5", "guide any@5", "prior any@5", "words", "words of layer 1",
        "perplexity of layer 4", "psnr of 1 layers, drawings", "psnr of 4 layers, photos",
        "mosaic psnr, drawings"})
    EXPECT_THAT(result.metrics, Contains(Key(name)));
  EXPECT_EQ(result.samples.size(0), static_cast<int64_t>(result.captions.size()));
  EXPECT_EQ(result.samples.size(0) % 6, 0);  // original, mosaic, four prefixes
}

TEST_F(SpaeTraining, TheSemanticPathStartsAsTheGuide) {
  spae::Model model = spae::make_model(small_recipe().model, data().words, 1, at::kCPU);
  spae::DualEncoder open = guide;  // the clamp of standardised features is not taken over
  open.config.clamp = 1e3;
  start_from_guide(model, open);
  const at::Tensor features = tests::random_tensor(8, {3, vqgan::kDepthFeatures});
  const at::Tensor latents =
      spae::encode_latents(model, tests::random_uniform(1, {3, 3, 16, 16}), features, at::kFloat);
  const at::Tensor vector = spae::look(open, spae::standardised(open, features)).vectors;
  const spae::WordProjection projection = spae::principal_components(model.codebook.semantics, 8);
  const at::Tensor expected = spae::unit_rows(at::matmul(vector, projection.basis));
  const int64_t top = model.pyramid.positions[0][0];
  EXPECT_LT((latents.select(1, top) - expected).abs().max().item<double>(), 1e-3);
}

TEST_F(SpaeTraining, UpperWordsCanBeTheGuidesOwnAmongThoseThatCaptionsHold) {
  SpaeRecipe recipe = small_recipe();
  recipe.model.upper_words = "guide";
  recipe.model.semantic_width = 12;
  const size_t all = said_words(pictures, 1).size();
  while (said_words(pictures, recipe.said_at_least).size() == all) ++recipe.said_at_least;
  run(recipe, "run");
  const spae::Model model = read("run");
  const std::vector<int64_t> said = said_words(pictures, recipe.said_at_least);
  ASSERT_EQ(model.config.semantic_words, static_cast<int64_t>(said.size()));
  EXPECT_LE(said.back(), tests::kNamedWords - 1);
  EXPECT_LT(said.size(), all);
  tests::expect_error(ErrorKind::kUsage, "no word is in 1000 captions",
                      [&] { said_words(pictures, 1000); });
  const at::Tensor features = tests::random_tensor(8, {3, vqgan::kDepthFeatures});
  spae::DualEncoder open = guide;  // the clamp of standardised features is not taken over
  open.config.clamp = 1e3;
  open.config.class_share = 0.0;
  const at::Tensor rows = at::tensor(said, at::kLong);
  const at::Tensor scores =
      spae::guide_scores(open, features, data().words.semantics.index_select(0, rows));
  const at::Tensor best = rows.index_select(0, std::get<1>(scores.topk(5, 1)).flatten());
  const at::Tensor ids = spae::encode(model, tests::random_uniform(1, {3, 3, 16, 16}), features, 2);
  EXPECT_TRUE(ids.flatten().equal(best));
}

TEST_F(SpaeTraining, ABatchIsTheSameTwiceAndStartsWithItsCaptions) {
  const SpaeRecipe recipe = small_recipe();
  WordBatches without(recipe, pictures, guide, data().words.semantics, nullptr);
  const WordBatch batch = without.batch(5), again = without.batch(5);
  EXPECT_TRUE(at::equal(batch.images, again.images));
  EXPECT_TRUE(at::equal(batch.features, again.features));
  EXPECT_TRUE(at::equal(batch.targets.ids, again.targets.ids));
  // Drawings' first words are their captions'.
  const int64_t photos = 1;  // of 4, by the recipe's share
  for (int64_t b = photos; b < 4; ++b)
    EXPECT_LT(batch.targets.ids.select(0, b)[0].item<int64_t>(), tests::kNamedWords);
}

TEST(SpaeRecipe, TheShippedOnesAreReadAndOfThePreset) {
  for (const char* name : {"spae-128", "spae-128-gpu"}) {
    const auto recipe = recipe_fields::read<SpaeRecipe>(std::string(LEXEL_SOURCE_DIR) +
                                                        "/recipes/" + name + ".json");
    EXPECT_EQ(recipe.model.vit.decoder.depth, spae::spae_128().vit.decoder.depth) << name;
    EXPECT_EQ(recipe.model.unvisited, spae::spae_128().unvisited) << name;
  }
}

TEST(SpaeRecipe, RejectsWhatCannotBe) {
  const auto rejects = [](const std::string& message, auto&& change) {
    SpaeRecipe recipe = small_recipe();
    change(recipe);
    tests::expect_error(ErrorKind::kUsage, message, [&] { validate(recipe); });
  };
  rejects("quantization: expected values of 0 to 1", [](SpaeRecipe& r) { r.quantization = "2"; });
  rejects("feature_width: expected 0 or 1728", [](SpaeRecipe& r) { r.model.feature_width = 6; });
  rejects("known_words", [](SpaeRecipe& r) { r.known_words = 21; });
  rejects("entropy", [](SpaeRecipe& r) { r.loss.entropy = -1; });
}

}  // namespace
}  // namespace lexel::train
