#include "apps/eval/generator/scene_set.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::eval {
namespace {

data::ComposeConfig of(const std::string& provenance, int64_t canvas = 128) {
  ModelFile file;
  file.provenance = provenance;
  return scenes_of_training(file, "g", canvas);
}

TEST(ScenesOfTraining, AreThoseOfTheRecipe) {
  const data::ComposeConfig config =
      of(R"({"recipe": {"dropout": 0.5, "compose.centred": 1.0, "compose.sizes.small": 24}})");
  EXPECT_EQ(config.centred, 1.0);
  EXPECT_EQ(config.sizes.small, 24);
  EXPECT_EQ(config.say_size, data::ComposeConfig{}.say_size);  // the recipe does not tell
}

TEST(ScenesOfTraining, MayBeOfALargerCanvas) {
  const std::string large = R"({"recipe": {"compose.sizes.large": 200}})";
  EXPECT_EQ(of(large, 256).canvas, 256);
  tests::expect_error(ErrorKind::kBadData, "a large size", [&] { of(large, 128); });
}

TEST(ScenesOfTraining, AreTheDefaultsWithoutARecipe) {
  for (const char* provenance : {"{}", R"({"recipe": 3})", R"({"command": "make"})"})
    EXPECT_EQ(of(provenance).centred, data::ComposeConfig{}.centred);
}

TEST(ScenesOfTraining, NamesAFieldThatCannotBe) {
  tests::expect_error(ErrorKind::kBadData, "g: key \"compose.grid\": expected a whole number",
                      [] { of(R"({"recipe": {"compose.grid": "8"}})"); });
  tests::expect_error(ErrorKind::kBadData, "g: the recipe in its provenance: ", [] {
    of(R"({"recipe": {"compose.single": -1}})");
  });
}

}  // namespace
}  // namespace lexel::eval
