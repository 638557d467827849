#include "tests/apps/launch/ranks_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "autoregressive/parallel/plan.h"

// `lexel train generator` as real processes, along every axis.

namespace lexel {
namespace {

using testing::HasSubstr;
using tests::kTolerance;
using tests::ProgramResult;
using tests::RanksGenerator;

TEST_F(RanksGenerator, EveryMeshIsTheRunOfOneRank) {
  ASSERT_EQ(train(1, "one", {}).exit_code, 0);
  const std::vector<std::pair<int64_t, std::vector<std::string>>> meshes{
      {2, {"--mesh", "tensor=2"}},
      {2, {"--mesh", "pipeline=2", "--trace", path("trace.json")}},
      {2, {"--mesh", "pipeline=2", "--schedule", "circular", "--rounds", "2"}},
      {4, {"--mesh", "data=2,tensor=2", "--trace", path("data.json")}},
      {4, {"--mesh", "pipeline=2,tensor=2", "--schedule", "1f1b"}}};
  for (size_t i = 0; i < meshes.size(); ++i) {
    const std::string name = "mesh" + std::to_string(i);
    const ProgramResult result = train(meshes[i].first, name, meshes[i].second);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_LT(difference("one", name), kTolerance) << meshes[i].second[1];
    expect_same_metrics("one", name);
  }
  const auto trace = nlohmann::json::parse(tests::read_text(path("trace.json")));
  EXPECT_GE(trace.at("traceEvents").size(),
            size_t{2 * 2 * 4 * 2});               // forward, backward; micro-batches; stacks
  std::map<int64_t, std::set<std::string>> seen;  // by rank
  const auto timeline = nlohmann::json::parse(tests::read_text(path("data.json")));
  for (const auto& event : timeline.at("traceEvents"))
    if (event.at("ph") == "X")
      seen[event.at("pid").get<int64_t>()].insert(event.at("name").get<std::string>());
  EXPECT_EQ(seen.size(), 4U);
  for (const auto& [rank, names] : seen)
    for (const char* const name :
         {"wait for a batch", rank < 2 ? "forward 0" : "forward 2", "backward 0", "backward 1",
          "reduce-scatter bucket 0", "optimizer", "all-gather bucket 0"})
      EXPECT_TRUE(names.contains(name)) << "rank " << rank << ": " << name;
}

TEST_F(RanksGenerator, ACheckpointOfOneMeshGoesOnOnOthers) {
  ASSERT_EQ(train(4, "whole", {"--mesh", "data=2,tensor=2"}).exit_code, 0);
  ASSERT_EQ(train(4, "cut", {"--mesh", "data=2,tensor=2", "--steps", "4"}).exit_code, 0);
  const std::vector<std::pair<int64_t, std::vector<std::string>>> meshes{
      {1, {}}, {4, {"--mesh", "data=2,tensor=2"}}, {4, {"--mesh", "pipeline=4"}}};
  for (size_t i = 0; i < meshes.size(); ++i) {
    const std::string name = "on" + std::to_string(i);
    std::filesystem::copy(path("cut"), path(name), std::filesystem::copy_options::recursive);
    std::vector<std::string> more = meshes[i].second;
    more.insert(more.end(), {"--steps", "8"});
    const ProgramResult result = train(meshes[i].first, name, more, /*resume=*/true);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    if (i == 1)
      EXPECT_EQ(difference("whole", name), 0.0);  // the same bits
    else
      EXPECT_LT(difference("whole", name), kTolerance);
  }
}

TEST_F(RanksGenerator, APlanIsFollowedAndOneOfAnotherModelRefused) {
  parallel::Plan plan =
      parallel::even_plan(recipe_.model, parallel::parse_mesh("pipeline=2"), 8, 4);
  parallel::write_plan(path("plan.json"), plan);
  ASSERT_EQ(train(1, "one", {}).exit_code, 0);
  ProgramResult result = train(2, "planned", {"--plan", path("plan.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_LT(difference("one", "planned"), kTolerance);
  plan.fingerprint[0] = plan.fingerprint[0] == '0' ? '1' : '0';
  parallel::write_plan(path("other.json"), plan);
  result = train(2, "other", {"--plan", path("other.json")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("the plan is for another model"));
  result = train(2, "heads", {"--mesh", "tensor=2", "--set", "model.heads=1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("axis tensor"));
}

TEST_F(RanksGenerator, APlanWithExpertsOfTheProgramIsFollowed) {
  const std::vector<std::string> experts{"--set", "model.experts=4"};
  ASSERT_EQ(train(1, "one", experts).exit_code, 0);
  recipe_.model.experts = 4;
  std::vector<std::string> arguments{
      LEXEL_BIN_DIR "/lexel", "plan",      "--batch", "8",  "--mesh",
      "data=2,expert=2",      "--compute", "fp32",    "-o", path("plan.json")};
  ar::visit_fields(recipe_.model, [&](const std::string& name, auto& field) {
    std::ostringstream value;
    value << std::boolalpha << field;
    arguments.insert(arguments.end(), {"--set", name + "=" + value.str()});
  });
  ProgramResult result = tests::run_program(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::vector<std::string> planned = experts;
  planned.insert(planned.end(), {"--plan", path("plan.json")});
  result = train(4, "planned", planned);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_LT(difference("one", "planned"), kTolerance);
}

}  // namespace
}  // namespace lexel
