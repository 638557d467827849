#include "autoregressive/parallel/plan.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/train/generator/recipe.h"
#include "apps/train/recipe_fields.h"
#include "tests/apps/programs_fixture.h"

namespace lexel::tests {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// The real program on a model of 13 million weights.
class PlanTest : public ProgramsTest {
 protected:
  static ProgramResult plan(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"plan", "--model", "parti-lexel-128", "--batch", "64"});
    return lexel(arguments);
  }
};

TEST_F(PlanTest, WritesAPlanOfThisModelAndSaysWhatToExpect) {
  const ProgramResult result = plan({"--devices", "4", "--memory", "2GB", "-o", path("plan.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("model      parti-lexel-128"));
  EXPECT_THAT(result.out, HasSubstr("a step, "));
  EXPECT_THAT(result.out, HasSubstr("of them carried out in full"));
  const parallel::Plan written = parallel::read_plan(path("plan.json"));
  parallel::check_plan(written, ar::parti_lexel_128());
  EXPECT_EQ(written.mesh.size(), 4);
  EXPECT_EQ(written.batch, 64);
  EXPECT_GT(written.predicted.step_s, 0);
  for (const auto& rank : written.predicted.ranks) EXPECT_LE(rank.memory_bytes, 2e9);
  parallel::Plan other = written;
  EXPECT_THROW(parallel::check_plan(other, ar::parti_350m()), Error);
}

TEST_F(PlanTest, PlansTheModelOfARecipe) {
  const std::string recipe = LEXEL_SOURCE_DIR "/recipes/parti-lexel-128.json";
  const ProgramResult result =
      lexel({"plan", "--model", recipe, "--set", "heads=4", "--batch", "64", "--mesh", "tensor=2",
             "--residual", "split", "-o", path("plan.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ar::Config config = train::recipe_fields::read<train::GeneratorRecipe>(recipe).model;
  EXPECT_THROW(parallel::check_plan(parallel::read_plan(path("plan.json")), config), Error);
  config.heads = 4;
  parallel::check_plan(parallel::read_plan(path("plan.json")), config);
  EXPECT_EQ(lexel({"plan", "--model", path("no.json")}).exit_code, 4);
}

TEST_F(PlanTest, PricesAMeshByHandWithMeasuredRates) {
  const std::vector<std::string> measured = {
      "--compute",   "fp32", "--flops",   "50G", "--bandwidth",        "1GB",
      "--latency",   "500",  "--overlap", "0",   "--memory-bandwidth", "10GB",
      "--loss-rows", "512"};
  const auto step = [&](const std::string& mesh) {
    std::vector<std::string> arguments = measured;
    arguments.insert(arguments.end(), {"--mesh", mesh, "-o", path("by-hand.json")});
    const ProgramResult result = plan(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parallel::read_plan(path("by-hand.json")).predicted.step_s;
  };
  const double one = step("data=1"), two = step("data=2");
  EXPECT_GT(one / two, 1.5);
  EXPECT_LT(one / two, 2.0);
}

TEST_F(PlanTest, SettingsChangeTheModel) {
  const ProgramResult result =
      plan({"--devices", "1", "--set", "depth=8", "-o", path("deep.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ar::Config config = ar::parti_lexel_128();
  config.depth = 8;
  parallel::check_plan(parallel::read_plan(path("deep.json")), config);
}

TEST_F(PlanTest, ExpertsLieOnAnAxisOfTheirOwn) {
  const ProgramResult result =
      plan({"--set", "experts=4", "--mesh", "data=2,expert=2", "-o", path("experts.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("data=2,expert=2; 64 pictures a step in 1 micro-batch of 16"));
  EXPECT_THAT(result.out, HasSubstr("all_to_all"));
  const parallel::Plan written = parallel::read_plan(path("experts.json"));
  EXPECT_EQ(written.mesh.length("expert"), 2);
  ar::Config config = ar::parti_lexel_128();
  config.experts = 4;
  parallel::check_plan(written, config);
  EXPECT_GT(written.predicted.bytes.at("all_to_all"), 0);
  expect_failure(plan({"--mesh", "expert=2"}), 2, "axis expert: the model has no experts");
  expect_failure(plan({"--set", "experts=3", "--mesh", "expert=2"}), 2,
                 "axis expert to divide 3 experts, got 2");
}

TEST_F(PlanTest, TableAndChartAreMarkedAsPredicted) {
  const ProgramResult result =
      plan({"--table", "--devices", "1,2,4", "--chart", path("scaling.svg")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Predicted, not measured"));
  EXPECT_THAT(result.out, HasSubstr("| parti-lexel-128 | 2 | "));
  EXPECT_THAT(read_text(path("scaling.svg")), HasSubstr("parti-lexel-128"));
  const ProgramResult tight = plan({"--table", "--devices", "1", "--memory", "1MB"});
  ASSERT_EQ(tight.exit_code, 0) << tight.err;
  EXPECT_THAT(tight.out, HasSubstr("does not fit"));
  const ProgramResult sparse =
      plan({"--table", "--devices", "2", "--set", "experts=4", "--set", "activation=geglu"});
  ASSERT_EQ(sparse.exit_code, 0) << sparse.err;
  EXPECT_THAT(sparse.out, HasSubstr("| parti-lexel-128, experts=4, activation=geglu | 2 | "));
}

TEST_F(PlanTest, HelpHasAnExample) {
  const ProgramResult result = lexel({"plan", "--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("Example: lexel plan --model parti-3b --devices 64"));
}

TEST_F(PlanTest, WhatCannotBeIsAUsageError) {
  expect_failure(plan({"--memory", "nan"}), 2, "--memory");
  expect_failure(plan({"--memory", "80XB"}), 2, "--memory");
  expect_failure(plan({"--devices", "0"}), 2, "--devices");
  expect_failure(plan({"--devices", "2,4"}), 2, "expected one number without --table");
  expect_failure(plan({"--set", "depht=8"}), 2, "field of the model's configuration, got depht");
  expect_failure(plan({"--set", "depth=x"}), 2, "depth");
  expect_failure(plan({"--set", "depth"}), 2, "expected KEY=VALUE");
  expect_failure(plan({"--micro-batches", "2"}), 2, "--mesh");
  expect_failure(plan({"--mesh", "tensor=3"}), 2, "axis tensor to divide 5 heads, got 3");
  expect_failure(plan({"--mesh", "data=2", "--devices", "3"}), 2, "expected 3 devices, got 2");
  expect_failure(plan({"--chart", path("x.svg")}), 2, "--table");
  expect_failure(lexel({"plan", "--model", "parti-9b"}), 2, "parti-350m");
  expect_failure(plan({"--devices", "2", "--memory", "1MB"}), 2, "expected devices of at least");
  EXPECT_FALSE(std::filesystem::exists(path("x.svg")));
}

}  // namespace
}  // namespace lexel::tests
