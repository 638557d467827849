#include "apps/train/tokenizer/recipe.h"

#include <gtest/gtest.h>
#include <string>

#include "tests/support/expect_error.h"

namespace lexel::train {
namespace {

using tests::expect_error;

TrainRecipe some_recipe() {
  TrainRecipe recipe;
  recipe.steps = 10;
  recipe.learning_rate = 3e-4;
  recipe.rates = "encoder=0.5";
  recipe.model.encoder.depth = 3;
  recipe.losses.relative_floor = 0.002;
  return recipe;
}

/// `text` with the first `from` replaced.
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Recipe, JsonGivesTheSameRecipeBack) {
  const std::string json = to_json(some_recipe());
  const TrainRecipe back = recipe_from_json(json, "r.json");
  EXPECT_EQ(to_json(back), json);
  EXPECT_EQ(back.learning_rate, 3e-4);
  EXPECT_EQ(back.model.encoder.depth, 3);
  EXPECT_EQ(back.losses.relative_floor, 0.002);
  EXPECT_EQ(back.rates, "encoder=0.5");
}

TEST(Recipe, JsonWithAKeyMissingUnknownOrOfAnotherTypeIsBadData) {
  const std::string json = to_json(some_recipe());
  expect_error(ErrorKind::kBadData, "\"seed\" is missing",
               [&] { recipe_from_json(replaced(json, "\"seed\": 1,", ""), "r.json"); });
  expect_error(ErrorKind::kBadData, "unknown key \"sede\"", [&] {
    recipe_from_json(replaced(json, "\"seed\": 1,", "\"seed\": 1, \"sede\": 2,"), "r.json");
  });
  expect_error(ErrorKind::kBadData, "expected a whole number", [&] {
    recipe_from_json(replaced(json, "\"seed\": 1,", "\"seed\": \"one\","), "r.json");
  });
  expect_error(ErrorKind::kBadData, "r.json", [] { recipe_from_json("[1]", "r.json"); });
  expect_error(ErrorKind::kBadData, "batch", [&] {
    recipe_from_json(replaced(json, "\"batch\": 16", "\"batch\": 0"), "r.json");
  });
}

TEST(Recipe, AFieldIsSetByItsDottedName) {
  TrainRecipe recipe = some_recipe();
  set_field(recipe, "model.encoder.depth=7");
  set_field(recipe, "learning_rate=1e-5");
  set_field(recipe, "flip=false");
  set_field(recipe, "rates=decoder=0:1 1:0");
  EXPECT_EQ(recipe.model.encoder.depth, 7);
  EXPECT_EQ(recipe.learning_rate, 1e-5);
  EXPECT_FALSE(recipe.flip);
  EXPECT_EQ(recipe.rates, "decoder=0:1 1:0");
}

TEST(Recipe, AFieldThatCannotBeSetIsAUsageError) {
  TrainRecipe recipe = some_recipe();
  expect_error(ErrorKind::kUsage, "no field 'depth'", [&] { set_field(recipe, "depth=7"); });
  expect_error(ErrorKind::kUsage, "KEY=VALUE", [&] { set_field(recipe, "batch"); });
  expect_error(ErrorKind::kUsage, "cannot read 'x'", [&] { set_field(recipe, "batch=x"); });
  expect_error(ErrorKind::kUsage, "whole number", [&] { set_field(recipe, "batch=1.5"); });
}

TEST(Recipe, ValuesThatCannotBeAreUsageErrorsNamingTheField) {
  const auto refused = [](const std::string& setting, const std::string& message) {
    TrainRecipe recipe = some_recipe();
    set_field(recipe, setting);
    expect_error(ErrorKind::kUsage, message, [&] { validate(recipe); });
  };
  refused("steps=0", "steps or minutes above 0");
  refused("batch=0", "batch: expected 1..65536, got 0");
  refused("compute=fp8", "compute: expected bf16 or fp32, got fp8");
  refused("learning_rate=0", "learning_rate: expected above 0");
  refused("beta2=1", "beta2");
  refused("codebook_ema=0", "losses.codebook: expected above 0 where codebook_ema is 0");
  refused("losses.perceptual=0.1", "perceptual: expected a file");
  refused("losses.adversarial=0.1", "discriminator.image_size");
  refused("start=magic", "start: expected plain or kmeans, got magic");
  refused("rates=encoder", "rates: expected NAME=VALUE");
  refused("quantized_share=0:2 a", "quantized_share");
  refused("model.patch_size=7", "patch_size");
}

TEST(Recipe, ShippedOnesAreValid) {
  for (const char* name : {"vit-vqgan-ss", "lexel-128", "lexel-128-gpu", "fashion-28", "smoke"}) {
    const TrainRecipe recipe =
        read_recipe(std::string(LEXEL_SOURCE_DIR) + "/recipes/" + name + ".json");
    EXPECT_NO_THROW(validate(recipe)) << name;
  }
}

}  // namespace
}  // namespace lexel::train
