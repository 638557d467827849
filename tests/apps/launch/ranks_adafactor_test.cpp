#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/apps/launch/ranks_generator.h"

// Adafactor of a generator whose matrices lie in parts on real processes.

namespace lexel {
namespace {

using testing::HasSubstr;
using tests::kTolerance;
using tests::ProgramResult;

class RanksAdafactor : public tests::RanksGenerator {
 protected:
  RanksAdafactor() {
    recipe_.schedule.optimizer = "adafactor";
    recipe_.schedule.epsilon = 1e-30;
    recipe_.model.activation = "geglu";  // a stack of two
    write_file(path("recipe.json"), train::recipe_fields::write(recipe_));
  }
  /// Largest difference of two runs' models, the biases of keys left out: attention is the same whatever they are, so that their gradient is
  /// the rounding of a zero, which Adafactor makes as large as any other's.
  double difference(const std::string& a, const std::string& b) const {
    const auto one = SafetensorsFile(path(a + "/model.safetensors")).tensors();
    const auto other = SafetensorsFile(path(b + "/model.safetensors")).tensors();
    EXPECT_EQ(one.size(), other.size());
    double largest = 0.0;
    for (const auto& [name, tensor] : one) {
      if (!tensor.is_floating_point()) continue;
      at::Tensor between = (tensor - other.at(name)).abs();
      const int64_t width = recipe_.model.width;
      if (name.ends_with(".qkv.bias")) between.narrow(0, width, width).zero_();
      if (name.ends_with(".kv.bias")) between.narrow(0, 0, width).zero_();
      largest = std::max(largest, between.max().item<double>());
    }
    return largest;
  }
  static std::vector<std::string> on(const std::string& mesh, const std::string& steps) {
    if (mesh.empty()) return {"--steps", steps};
    return {"--mesh", mesh, "--steps", steps};
  }
};

TEST_F(RanksAdafactor, EveryMeshIsTheRunOfOneRankAndGoesOnOnAnother) {
  ASSERT_EQ(train(1, "one", {}).exit_code, 0);
  struct Way {
    int64_t ranks;
    std::string mesh;
    int64_t later_ranks;
    std::string later;
  };
  const std::vector<Way> ways{{2, "tensor=2", 1, ""},
                              {4, "data=2,tensor=2", 1, ""},
                              {1, "", 2, "tensor=2"},
                              {2, "pipeline=2", 4, "data=2,tensor=2"}};
  for (const Way& way : ways) {
    SCOPED_TRACE(concat("\"", way.mesh, "\", then \"", way.later, "\""));
    const std::string name = "run" + way.mesh + way.later;
    ProgramResult result = train(way.ranks, name, on(way.mesh, "4"));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    result = train(way.later_ranks, name, on(way.later, "8"), /*resume=*/true);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_LT(difference("one", name), kTolerance);
  }
}

TEST_F(RanksAdafactor, ExpertsAreOneMatrix) {
  const std::vector<std::string> experts{"--set", "model.experts=4", "--set",
                                         "model.activation=gelu"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), experts.begin(), experts.end());
    return more;
  };
  ASSERT_EQ(train(1, "one", experts).exit_code, 0);
  ASSERT_EQ(train(2, "experts", with(on("expert=2", "4"))).exit_code, 0);
  ASSERT_EQ(train(1, "experts", on("", "8"), /*resume=*/true).exit_code, 0);
  EXPECT_LT(difference("one", "experts"), kTolerance);
}

TEST_F(RanksAdafactor, AnInt8MomentIsRefusedWhereACutPartsItsBlocks) {
  const ProgramResult result =
      train(2, "int8", {"--mesh", "tensor=2", "--set", "optimizer=adafactor_int8"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.err, HasSubstr("axis tensor: adafactor_int8: the cut of"));
  EXPECT_THAT(result.err, HasSubstr("set optimizer to adafactor"));
}

}  // namespace
}  // namespace lexel
