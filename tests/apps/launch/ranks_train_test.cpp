#include <ATen/TensorOperators.h>
#include <cstdlib>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <thread>

#include "apps/train/checkpoint.h"
#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/run_program.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/safetensors.h"

// `lexel train tokenizer` as real processes.

namespace lexel {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using tests::ProgramResult;

class RanksTrain : public testing::Test {
 protected:
  RanksTrain() {
    tests::made_tar(folder_ / "a.tar", "a", false, 24, 1);
    tests::made_tar(folder_ / "h.tar", "a", true, 8, 100);
    train::TrainRecipe recipe = tests::tiny_recipe();
    for (vqgan::StackConfig* stack : {&recipe.model.encoder, &recipe.model.decoder}) {
      stack->heads = 2;
      stack->head_width = 16;
    }
    recipe.steps = 50;
    recipe.batch = 2;
    recipe.accumulation = 4;
    recipe.eval_steps = 25;
    recipe.losses.adversarial = 0.1;
    recipe.discriminator = {.image_size = 32, .channel_base = 64, .max_channels = 8, .group = 2};
    recipe.restart_unused_for = 10;
    recipe.restart_every = 5;
    recipe.restart_until = 1.0;
    recipe.final_rate = 1.0;  // the length of a run changes nothing
    write_file(path("recipe.json"), to_json(recipe));
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::vector<std::string> command(int64_t ranks, const std::string& output,
                                   const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments;
    if (ranks > 1)
      arguments = {
          LEXEL_BIN_DIR "/lexel", "launch", "-n", std::to_string(ranks), "--grace", "5", "--"};
    arguments.insert(arguments.end(), {LEXEL_BIN_DIR "/lexel", "train", "tokenizer", "--output",
                                       path(output), "--data", path("a.tar"), path("h.tar"),
                                       "--device", "cpu", "--weights", "fp32", "-q"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  ProgramResult train(int64_t ranks, const std::string& output,
                      std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"--recipe", path("recipe.json")});
    return tests::run_program(command(ranks, output, more));
  }
  ProgramResult resume(int64_t ranks, const std::string& output,
                       std::vector<std::string> more = {}) const {
    more.emplace_back("--resume");
    return tests::run_program(command(ranks, output, more));
  }
  std::map<std::string, at::Tensor> model(const std::string& run) const {
    return SafetensorsFile(path(run + "/model.safetensors")).tensors();
  }

  tests::TemporaryFolder folder_;
};

double largest_difference(const std::map<std::string, at::Tensor>& a,
                          const std::map<std::string, at::Tensor>& b) {
  double largest = 0.0;
  EXPECT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a)
    if (tensor.is_floating_point())
      largest = std::max(largest, (tensor - b.at(name)).abs().max().item<double>());
  return largest;
}

TEST_F(RanksTrain, EveryMeshIsTheRunOfOneRank) {
  ASSERT_EQ(train(1, "one").exit_code, 0);
  for (const auto& [ranks, mesh] : std::vector<std::pair<int64_t, std::string>>{
           {2, "data=2"}, {2, "tensor=2"}, {4, "data=2,tensor=2"}}) {
    const ProgramResult result = train(ranks, mesh, {"--mesh", mesh});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    // 50 steps in float32 whose sums are cut differently.
    EXPECT_LT(largest_difference(model("one"), model(mesh)), 2e-3) << mesh;
  }
}

TEST_F(RanksTrain, ACheckpointOfHeadsAndHiddenUnitsGoesOnOnOneRankAndBack) {
  ASSERT_EQ(train(2, "whole", {"--mesh", "tensor=2", "--steps", "24"}).exit_code, 0);
  // Steps 1 to 8 on two ranks, to 16 on one, to 24 on two again.
  ASSERT_EQ(train(2, "cut", {"--mesh", "tensor=2", "--steps", "8"}).exit_code, 0);
  std::filesystem::copy(path("cut"), path("same"), std::filesystem::copy_options::recursive);
  ASSERT_EQ(resume(1, "cut", {"--steps", "16"}).exit_code, 0);
  ASSERT_EQ(resume(2, "cut", {"--steps", "24", "--mesh", "tensor=2"}).exit_code, 0);
  EXPECT_LT(largest_difference(model("whole"), model("cut")), 2e-3);
  ASSERT_EQ(resume(2, "same", {"--steps", "24", "--mesh", "tensor=2"}).exit_code, 0);
  EXPECT_EQ(largest_difference(model("whole"), model("same")), 0.0);  // the same bits
}

TEST_F(RanksTrain, AnyNumberOfRanksGoesOnWithACheckpoint) {
  ASSERT_EQ(train(2, "whole").exit_code, 0);
  ASSERT_EQ(train(2, "cut", {"--steps", "20"}).exit_code, 0);
  for (const int64_t ranks : {1, 2, 4}) {
    const std::string name = "on" + std::to_string(ranks);
    std::filesystem::copy(path("cut"), path(name), std::filesystem::copy_options::recursive);
    const ProgramResult result = resume(ranks, name, {"--steps", "50"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const double difference = largest_difference(model("whole"), model(name));
    if (ranks == 2)
      EXPECT_EQ(difference, 0.0);  // the same bits
    else
      EXPECT_LT(difference, 2e-3);
  }
}

TEST_F(RanksTrain, WhatCannotBeIsRefusedOnAllRanksInOneLineEach) {
  ProgramResult result = train(2, "mesh", {"--mesh", "data=4"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("mesh data=4 has 4 ranks, but 2 processes run"));
  result = train(2, "pipeline", {"--mesh", "pipeline=2"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.err, HasSubstr("mesh pipeline=2: axis pipeline: a tokenizer's two stacks"));
  result = train(2, "heads", {"--mesh", "tensor=2", "--set", "model.encoder.heads=1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("axis tensor: model.encoder.heads 1: expected multiples of 2"));
  result = train(3, "three");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("axis data: 4 passes a step cannot be shared by 3 ranks"));
}

TEST_F(RanksTrain, RanksWithDifferentRecipesAreNamed) {
  const std::string line = LEXEL_BIN_DIR "/lexel train tokenizer --output " + path("differ") +
                           " --data " + path("a.tar") + " --device cpu -q --recipe " +
                           path("recipe.json") + " --seed $((RANK / 2))";
  const ProgramResult result = tests::run_program(
      {LEXEL_BIN_DIR "/lexel", "launch", "-n", "4", "--", "/bin/sh", "-c", line});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("all ranks must have the same recipe"));
  EXPECT_THAT(result.err, HasSubstr("rank 2 has"));
}

/// A long run of two ranks of which one meets with something; returns what the launcher said.
class RanksFail : public RanksTrain {
 protected:
  /// what   shell command with $victim, the process of rank 1
  ProgramResult when(const std::string& what) const {
    std::string line;
    for (const std::string& word :
         command(2, "run",
                 {"--steps", "1000000", "--timeout", "3", "--recipe", path("recipe.json"), "--set",
                  "checkpoint_minutes=0.001"}))
      line += word + " ";
    const std::string script =
        line + "& launcher=$!; while [ ! -s " + path("run/metrics.jsonl") +
        " ] || [ $(grep -c step.:20 " + path("run/metrics.jsonl") +
        ") -lt 1 ]; do sleep 0.1; done; victim=$(grep -l -z '^RANK=1$' /proc/[0-9]*/environ "
        "2>/dev/null | cut -d/ -f3 | while read p; do [ \"$(ps -o ppid= -p $p | tr -d ' ')\" = "
        "$launcher ] && echo $p; done); " +
        what +
        "; wait $launcher; code=$?; for p in $(pgrep -P $launcher); do echo alive; done; exit "
        "$code";
    return tests::run_program({"/bin/sh", "-c", script});
  }
};

TEST_F(RanksFail, ARankThatIsKilledEndsTheRunAndTheCheckpointIsWhole) {
  const ProgramResult result = when("kill -9 $victim");
  EXPECT_EQ(result.exit_code, 137) << result.err;
  EXPECT_THAT(result.err, HasSubstr("rank 1 was killed by signal 9 (Killed)"));
  EXPECT_THAT(result.err, ContainsRegex("rank 1 (is gone or hangs|did not come)"));
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(train::read_checkpoint(path("run/checkpoint.safetensors")).files.size(), 2u);
  EXPECT_EQ(resume(2, "run", {"--steps", "30"}).exit_code, 0);
}

TEST_F(RanksFail, ARankThatHangsEndsTheRunWithinItsTime) {
  const ProgramResult result = when("kill -STOP $victim");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, ContainsRegex("rank 1 (is gone or hangs|did not come)"));
  EXPECT_THAT(result.err, HasSubstr("lexel launch: rank 0 ended with code 4"));
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(train::read_checkpoint(path("run/checkpoint.safetensors")).files.size(), 2u);
}

TEST_F(RanksTrain, ALossThatIsNotFiniteEndsAllRanksWithTheStep) {
  const ProgramResult result = train(2, "nan",
                                     {"--set", "learning_rate=1e30", "--set", "clip_norm=0",
                                      "--set", "warmup_steps=0", "--set", "start=plain"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("step 2: the loss term 'l2' is not finite"));
}

}  // namespace
}  // namespace lexel
