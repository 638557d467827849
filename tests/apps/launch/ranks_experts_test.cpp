#include <ATen/ops/zeros_like.h>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/train/checkpoint.h"
#include "autoregressive/parallel/plan.h"
#include "tests/apps/launch/ranks_generator.h"

// Experts of a generator over real processes.

namespace lexel {
namespace {

using tests::kTolerance;
using tests::ProgramResult;

class RanksExperts : public tests::RanksGenerator {
 protected:
  RanksExperts() {
    recipe_.model.experts = 4;
    recipe_.schedule.log_every = 1;
    write_file(path("recipe.json"), train::recipe_fields::write(recipe_));
  }
  std::vector<nlohmann::json> losses(const std::string& run) const {
    std::vector<nlohmann::json> result;
    std::ifstream in(path(run + "/metrics.jsonl"));
    for (std::string line; std::getline(in, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.at("type") == "step") result.push_back(json.at("losses"));
    }
    return result;
  }
  void expect_same_log(const std::string& run) const {
    const auto wanted = losses("one"), found = losses(run);
    ASSERT_EQ(wanted.size(), 8u);
    ASSERT_EQ(found.size(), 8u);
    for (size_t step = 0; step < 8; ++step) {
      for (const char* const name : {"loss", "auxiliary", "expert entropy"}) {
        ASSERT_TRUE(found[step].contains(name)) << run << " does not log " << name;
        // The weights of a step differ by the rounding of those before; a token may choose otherwise then.
        EXPECT_NEAR(found[step][name].get<double>(), wanted[step][name].get<double>(),
                    step == 0 ? 1e-5 : 0.02)
            << run << ", " << name << " of step " << step;
      }
    }
  }
};

TEST_F(RanksExperts, EveryMeshIsTheRunOfOneRankAndLogsTheSame) {
  ASSERT_EQ(train(1, "one", {}).exit_code, 0);
  const std::vector<std::pair<int64_t, std::string>> meshes{{2, "expert=2"},

                                                            {4, "expert=2,tensor=2"},
                                                            {2, "pipeline=2"},
                                                            {4, "pipeline=2,expert=2"}};
  for (const auto& [ranks, mesh] : meshes) {
    const ProgramResult result = train(ranks, mesh, {"--mesh", mesh});
    ASSERT_EQ(result.exit_code, 0) << mesh << ": " << result.err;
    EXPECT_LT(difference("one", mesh), kTolerance) << mesh;
    expect_same_metrics("one", mesh);
    expect_same_log(mesh);
  }
}

TEST_F(RanksExperts, APlanByHandWithTheirAxisIsFollowed) {
  ASSERT_EQ(train(1, "one", {}).exit_code, 0);
  // 8 pictures a step in 4 passes: 2 on each rank of the axis expert.
  const parallel::MeshShape mesh = parallel::parse_mesh("pipeline=2,expert=2");
  parallel::write_plan(path("plan.json"), parallel::even_plan(recipe_.model, mesh, 8, 2));
  const ProgramResult result = train(4, "planned", {"--plan", path("plan.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_LT(difference("one", "planned"), kTolerance);
}

TEST_F(RanksExperts, ACheckpointHasTheSameBytesOnAnyNumberOfRanks) {
  const auto train_or_copy = [&](const std::string& from, const std::string& to, int64_t ranks,
                                 const std::string& steps) {
    std::filesystem::copy(path(from), path(to), std::filesystem::copy_options::recursive);
    std::vector<std::string> more{"--steps", steps};
    if (ranks > 1) more.insert(more.end(), {"--mesh", "expert=" + std::to_string(ranks)});
    const ProgramResult result = train(ranks, to, more, /*resume=*/true);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  };
  const auto checkpoint = [&](const std::string& run) {
    return train::read_checkpoint(path(run + "/checkpoint.safetensors"));
  };
  ASSERT_EQ(train(2, "two", {"--mesh", "expert=2", "--steps", "4"}).exit_code, 0);
  // Read and written again by others, which make no step.
  train_or_copy("two", "two on one", 1, "4");
  train_or_copy("two", "two on four", 4, "4");
  train_or_copy("two on one", "one on two", 2, "4");
  train_or_copy("two on four", "four on one", 1, "4");
  EXPECT_EQ(checkpoint("two").files.size(), 2u);
  EXPECT_EQ(checkpoint("two on four").files.size(), 4u);
  const train::Checkpoint one = checkpoint("two on one");
  ASSERT_EQ(one.files.size(), 1u);
  int64_t of_experts = 0;
  for (const char* const run : {"two", "two on four", "one on two", "four on one"}) {
    const train::Checkpoint other = checkpoint(run);
    for (const auto& [name, tensor] : one.files[0].tensors) {
      const train::StatePiece piece{name, tensor.sizes().vec(), {}, 0, at::zeros_like(tensor)};
      train::restore_pieces(other, run, {piece});
      EXPECT_TRUE(piece.tensor.equal(tensor)) << run << ": " << name;
      if (name.find(".experts.") != std::string::npos) ++of_experts;
    }
  }
  EXPECT_EQ(of_experts, 4 * 4 * 2 * 3);  // runs; weights, two moments, average; up, down; layers
  // And they go on as the run that was not interrupted.
  ASSERT_EQ(train(1, "one", {}).exit_code, 0);
  train_or_copy("two on four", "end of four", 4, "8");
  train_or_copy("two on one", "end of one", 1, "8");
  EXPECT_LT(difference("one", "end of four"), kTolerance);
  EXPECT_LT(difference("one", "end of one"), kTolerance);
}

}  // namespace
}  // namespace lexel
