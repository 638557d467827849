#include "autoregressive/parallel/stage_parameters.h"

#include <gtest/gtest.h>
#include <set>

#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"

namespace lexel::parallel {
namespace {

/// Three encoder and five decoder blocks, in four stages, two a rank.
Plan plan_of(const ar::Config& config) {
  return even_plan(config, parse_mesh("pipeline=2"), 2, 2, "circular", 2);
}

ar::Config config() {
  ar::Config config = tests::tiny_parti();
  config.text_depth = 3;
  config.depth = 5;
  return config;
}

TEST(StageParametersTest, NamesAreWhereTheirBlocksAre) {
  const Plan plan = plan_of(config());
  // Even parts: encoder blocks 0 | 1 2 in the first round, decoder blocks 0 | 1 | 2 | 3 4.
  EXPECT_EQ(stage_of(plan, "text_embedding.weight"), 0);
  EXPECT_EQ(stage_of(plan, "text_positions"), 0);
  EXPECT_EQ(stage_of(plan, "encoder.blocks.0.attention.qkv.weight"), 0);
  EXPECT_EQ(stage_of(plan, "encoder.blocks.2.feed_forward.up.bias"), 1);
  EXPECT_EQ(stage_of(plan, "encoder.norm.weight"), 1);
  for (const char* const table : {"start", "token_embedding.weight", "row_positions"}) {
    EXPECT_EQ(stage_of(plan, table), 0);
  }
  EXPECT_EQ(stage_of(plan, "decoder.blocks.2.cross.kv.weight"), 2);
  EXPECT_EQ(stage_of(plan, "decoder.blocks.4.cross.kv.weight"), 3);
  EXPECT_EQ(stage_of(plan, "decoder.norm.bias"), 3);
  EXPECT_EQ(stage_of(plan, "softmax.weight"), 3);
  for (const char* const name : {"softmaxes", "decoder.blocks.5.norm", "decoder.blocks.x.norm",
                                 "decoder.blocks.1", "encoder.blocks.-1.norm"}) {
    tests::expect_error(ErrorKind::kUsage, name, [&] { (void)stage_of(plan, name); });
  }
}

TEST(StageParametersTest, RanksHoldEachParameterOnceAndFreeTheRest) {
  for (const ar::Config& c : {config(), tests::tiny_vim()}) {
    const Plan plan = plan_of(c);
    std::set<std::string> held;
    for (int64_t rank = 0; rank < 2; ++rank) {
      ar::Model model = ar::make_model(c, 1, at::kCPU);
      keep_stage(model, plan, rank);
      size_t defined = 0;
      for (const Parameter& p : ar::parameters(model)) defined += p.tensor->defined() ? 1 : 0;
      const ParameterList own = stage_parameters(model, plan, rank);
      EXPECT_EQ(own.size(), defined);
      for (const Parameter& p : own) {
        EXPECT_TRUE(p.tensor->defined()) << p.name;
        EXPECT_TRUE(held.insert(p.name).second) << p.name;
      }
    }
    ar::Model layout = ar::model_layout(c);
    EXPECT_EQ(held.size(), ar::parameters(layout).size());
  }
}

TEST(StageParametersTest, AFreshStageHasTheValuesOfTheWholeModel) {
  for (const ar::Config& c : {config(), tests::tiny_vim()}) {
    const Plan plan = plan_of(c);
    for (int64_t rank = 0; rank < 2; ++rank) {
      ar::Model whole = ar::make_model(c, 5, at::kCPU);
      keep_stage(whole, plan, rank);
      ar::Model stage = make_stage(c, plan, rank, 5, at::kCPU);
      const ParameterList expected = ar::parameters(whole), found = ar::parameters(stage);
      for (size_t i = 0; i < expected.size(); ++i) {
        ASSERT_EQ(found[i].tensor->defined(), expected[i].tensor->defined()) << found[i].name;
        if (found[i].tensor->defined()) {
          EXPECT_TRUE(found[i].tensor->equal(*expected[i].tensor)) << found[i].name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lexel::parallel
