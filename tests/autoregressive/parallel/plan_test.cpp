#include "autoregressive/parallel/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "autoregressive/parallel/annotations.h"
#include "kernels/check.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::parallel {
namespace {

using ::testing::HasSubstr;

ar::Config small() {
  ar::Config config = ar::parti_lexel_128();  // 2 + 4 blocks, width 320, 5 heads
  config.heads = 4;
  return config;
}

Plan some_plan() {
  Plan plan = even_plan(small(), parse_mesh("data=2,pipeline=2,tensor=2"), 16, 4);
  plan.model = "small";
  plan.rematerialize = true;
  plan.residual = "split";
  plan.predicted = {1.5, 0.2, {{1e9, 1.2}, {2e9, 1.1}}, {{"all_gather", 3e6}, {"send", 7}}};
  return plan;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return place == std::string::npos ? text : text.replace(place, from.size(), to);
}

TEST(Plan, TextAndFileGiveItBack) {
  const Plan plan = some_plan();
  const std::string text = plan_text(plan);
  const Plan back = parse_plan(text, "x");
  EXPECT_EQ(plan_text(back), text);
  EXPECT_EQ(back.stages, plan.stages);
  EXPECT_EQ(back.annotations, plan.annotations);
  EXPECT_EQ(back.predicted, plan.predicted);
  EXPECT_EQ(back.residual, "split");
  EXPECT_TRUE(back.rematerialize);
  EXPECT_EQ(to_text(back.mesh), "data=2,pipeline=2,tensor=2");
  const tests::TemporaryFolder folder;
  write_plan((folder / "plan.json").string(), plan);
  EXPECT_EQ(plan_text(read_plan((folder / "plan.json").string())), text);
  check_plan(back, small());
}

TEST(Plan, PatternsFitWholeNames) {
  EXPECT_TRUE(fits("*.q.weight", "decoder.blocks.0.cross.q.weight"));
  EXPECT_FALSE(fits("*.q.weight", "decoder.blocks.0.cross.kv.weight"));
  EXPECT_FALSE(fits("softmax.weight", "x.softmax.weight"));
  EXPECT_TRUE(fits("a*b*c", "aXbXbc"));
  EXPECT_FALSE(fits("a*b*c", "aXcXb"));
  EXPECT_TRUE(fits("*", ""));
  EXPECT_FALSE(fits("", "a"));
}

TEST(Plan, EveryMatrixIsCutWhereTheTensorParallelModelCutsIt) {
  const Plan plan = some_plan();
  const auto dim = [&](const std::string& name) {
    const Placement placement = placement_of(plan, name);
    EXPECT_TRUE(!placement.split || placement.axis == "tensor");
    return placement.split ? placement.dim : -1;
  };
  for (const char* weight :
       {"encoder.blocks.0.attention.qkv.weight", "decoder.blocks.3.cross.q.bias",
        "decoder.blocks.0.cross.kv.weight", "decoder.blocks.1.feed_forward.up.bias",
        "token_embedding.weight", "text_embedding.weight", "softmax.weight", "softmax.bias"})
    EXPECT_EQ(dim(weight), 0) << weight;
  EXPECT_EQ(dim("decoder.blocks.0.attention.out.weight"), 1);
  EXPECT_EQ(dim("encoder.blocks.1.feed_forward.down.weight"), 1);
  for (const char* weight :
       {"decoder.blocks.0.attention.out.bias", "decoder.blocks.0.attention.norm.weight",
        "text_positions", "start", "row_positions", "decoder.norm.bias"})
    EXPECT_EQ(dim(weight), -1) << weight;
}

TEST(Plan, EvenStagesHoldEveryBlockOnce) {
  ar::Config config = ar::parti_20b();
  const Plan plan = even_plan(config, parse_mesh("data=64,pipeline=16"), 8192, 16, "circular", 4);
  ASSERT_EQ(plan.stages.size(),
            64u);  // Parti: the encoder 1 block a stage, the decoder 4 rounds of 1
  EXPECT_EQ(plan.stages[17].encoder.size(), 0);
  EXPECT_EQ(plan.stages[5].encoder, (BlockRange{5, 6}));
  EXPECT_EQ(plan.stages[21].decoder, (BlockRange{21, 22}));
  EXPECT_TRUE(plan.annotations.empty());
}

TEST(Plan, AnotherModelIsRefused) {
  ar::Config other = small();
  other.conv_layers = "all";
  EXPECT_NE(model_fingerprint(other), model_fingerprint(small()));
  tests::expect_error(ErrorKind::kUsage, "the plan is for another model, small",
                      [&] { check_plan(some_plan(), other); });
}

TEST(Plan, WhatCannotRunIsRefusedByName) {
  const auto refused = [](const auto& change, const std::string& message) {
    Plan plan = some_plan();
    change(plan);
    tests::expect_error(ErrorKind::kUsage, message, [&] { check_plan(plan, small()); });
  };
  refused([](Plan& p) { p.stages[1].decoder.begin = 3; },
          "stage 1 to go on with block 2 of the decoder");
  refused([](Plan& p) { p.stages[1].encoder = {1, 1}; }, "expected 2 blocks of the encoder, got 1");
  refused([](Plan& p) { p.stages.pop_back(); }, "axis pipeline of 2 times 1 rounds");
  refused([](Plan& p) { p.rounds = 2; }, "rounds: expected 1 unless circular");
  refused([](Plan& p) { p.schedule = "zigzag"; }, "expected gpipe, 1f1b or circular, got zigzag");
  refused([](Plan& p) { p.batch = 12; }, "expected a multiple of 8");
  refused(
      [](Plan& p) {
        p.annotations.push_back({"*.absent", {}});
      },
      "fits \"*.absent\", got none");
  refused([](Plan& p) { p.annotations[0].placement.dim = 2; }, "expected a dimension of ");
  refused([](Plan& p) { p.mesh = parse_mesh("data=2,pipeline=2,tensor=3"); },
          "axis tensor to divide 4 heads, got 3");
  refused(
      [](Plan& p) {
        p.annotations = {{"row_positions", Placement::along(1, "pipeline")},
                         {"start", Placement::along(0, "tensor")}};
      },
      "start: expected axis tensor to divide dimension 0 of size 1, got 2");
}

TEST(Plan, TheEncoderRunsInTheFirstRound) {
  Plan plan = even_plan(small(), parse_mesh("pipeline=2"), 4, 2, "circular", 2);
  check_plan(plan, small());
  plan.stages[1].encoder = {0, 0};
  plan.stages[2].encoder = {1, 2};
  tests::expect_error(ErrorKind::kUsage, "encoder's blocks in the first round, got some in stage 2",
                      [&] { check_plan(plan, small()); });
}

TEST(Plan, HostileTextIsBadData) {
  const std::string good = plan_text(some_plan());
  const auto refused = [](const std::string& text, const std::string& message) {
    tests::expect_error(ErrorKind::kBadData, message, [&] { parse_plan(text, "p.json"); });
  };
  refused("", "p.json: not JSON");
  refused("[]", "expected an object, got []");
  refused(good.substr(0, good.size() / 2), "not JSON");
  refused(replaced(good, "\"batch\": 16", "\"batch\": 0"), "batch: expected a whole number from 1");
  refused(replaced(good, "\"batch\": 16", "\"batch\": 18446744073709551615"),
          "batch: expected a whole");
  refused(replaced(good, "\"batch\": 16", "\"batch\": 1.5"), "batch: expected a whole number");
  refused(replaced(good, "\"batch\"", "\"bitch\""), "key \"batch\" is missing");
  refused(replaced(good, "\"rounds\"", "\"extra\": 1, \"rounds\""), "unknown key \"extra\"");
  refused(replaced(good, "\"rounds\"", "\"batch\": 1, \"rounds\""), "key \"batch\" twice");
  refused(replaced(good, "gpipe", "gpip"), "expected one of gpipe, 1f1b, circular");
  refused(replaced(good, "pipeline=2", "pipeline=x"), "p.json: mesh: ");
  refused(replaced(good, "\"tensor\"", "\"width\""),
          "expected one of data, pipeline, expert, tensor");
  refused(replaced(good, "\"step_s\": 1.5", "\"step_s\": -1"),
          "step_s: expected a number of at least 0");
  refused(replaced(good, "\"send\"", "\"shout\""), "unknown key \"shout\"");
  refused(replaced(good, "\"dim\": 0", "\"dim\": 1000000"),
          "dim: expected a whole number from 0 to 7");
  refused(replaced(good, "\"lexel.plan\": 1", "\"lexel.plan\": 2"), "lexel.plan: expected a whole");
  refused(std::string(2 << 20, ' '), "expected at most 1048576 bytes");
  refused(std::string(100000, '['), "nested too deeply");
  std::string many = "[";
  for (int i = 0; i < 5000; ++i) many += "{},";
  refused(replaced(good, "\"stages\": [", "\"stages\": " + many), "at most 4096 entries");
}

TEST(Plan, ExpertsLieOnTheirOwnAxisOrAreRefused) {
  ar::Config sparse = small();
  sparse.experts = 4;
  Plan plan = even_plan(sparse, parse_mesh("data=2,expert=2,tensor=2"), 8, 2);
  const Sharding sharding = sharding_of(sparse, plan);
  EXPECT_EQ(sharding.weight("encoder.blocks.1.feed_forward.experts.down.weight"),
            Placement::along(0, "expert"));
  EXPECT_EQ(sharding.weight("encoder.blocks.0.feed_forward.down.weight"),
            Placement::along(1, "tensor"));
  tests::expect_error(ErrorKind::kUsage,
                      "expected a multiple of 8 (axis data of 2, axis expert of 2, times 2",
                      [&] { even_plan(sparse, parse_mesh("data=2,expert=2"), 12, 2); });
  plan.annotations.pop_back();
  tests::expect_error(ErrorKind::kUsage, "split along axis expert in dimension 0",
                      [&] { check_plan(plan, sparse); });
  tests::expect_error(ErrorKind::kUsage, "axis expert to divide 4 experts, got 3",
                      [&] { even_plan(sparse, parse_mesh("expert=3"), 3); });
  tests::expect_error(ErrorKind::kUsage, "axis expert: the model has no experts",
                      [] { even_plan(small(), parse_mesh("expert=2"), 2); });
}

}  // namespace
}  // namespace lexel::parallel
