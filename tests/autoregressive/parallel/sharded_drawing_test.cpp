#include "autoregressive/parallel/sharded_drawing.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <string>

#include "autoregressive/generate.h"
#include "tests/autoregressive/parallel/split_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/ranks.h"

namespace lexel::parallel {
namespace {

using kernels::WeightFormat;
using tests::on_mesh;

ar::Config smaller(ar::Config config) {
  config.grid_height = 3;
  config.grid_width = 4;
  return config;
}

ar::Model made(const ar::Config& config) {
  ar::Model model = ar::make_model(config, 3, at::kCPU);
  tests::fill_zeros(model);
  return model;
}

/// What is drawn: 3 pictures with guidance.
struct Drawing {
  ar::Condition condition, none;
  at::Tensor pictures = at::arange(40, 43, at::kLong);
  ar::GenerateOptions options;

  Drawing(const ar::Config& config, at::ScalarType cache, uint64_t seed) {
    condition = tests::tiny_condition(config, 3);
    if (config.text_depth > 0) {
      none.text = at::full({1, 1}, 2, at::kLong);
      none.lengths = at::full({1}, 1, at::kLong);
    } else {
      none.classes = at::full({1}, config.classes, at::kLong);
    }
    options.guidance = 2.0;
    options.top_p = 0.98;
    options.seed = seed;
    options.cache = cache;
  }

  ar::Generated draw(const ar::PackedModel& model) const {
    return ar::generate(model, condition, none, pictures, options);
  }
};

struct Case {
  const char* name;
  ar::Config config;
  WeightFormat weights;
  at::ScalarType cache;
  const char* mesh;
};

std::vector<Case> cases() {
  const ar::Config parti = smaller(tests::split_parti()), vim = smaller(tests::split_vim());
  ar::Config uneven = parti;  // 5 heads, and codes and hidden units that do not divide
  uneven.width = 40;
  uneven.heads = 5;
  uneven.hidden = 27;
  uneven.codebook_size = 29;
  ar::Config sparse = uneven;  // experts in every other block, gated layers between
  sparse.activation = "geglu";
  sparse.experts = 3;
  return {{"text, experts, int8", sparse, WeightFormat::kInt8, at::kBFloat16, "tensor=2"},
          {"text, 5 heads, int8", uneven, WeightFormat::kInt8, at::kBFloat16, "tensor=2"},
          {"text, 5 heads, float32", uneven, WeightFormat::kFloat32, at::kFloat, "tensor=4"},
          {"text, float32", parti, WeightFormat::kFloat32, at::kFloat, "tensor=2"},
          {"text, int8", parti, WeightFormat::kInt8, at::kChar, "tensor=4"},
          {"classes, bfloat16", vim, WeightFormat::kBFloat16, at::kBFloat16, "tensor=2"}};
}

TEST(ShardedDrawing, TokensAndLikelihoodsAreThoseOfOneRankBitForBit) {
  for (const Case& c : cases()) {
    const ar::PackedModel whole = ar::pack(made(c.config), c.weights);
    std::vector<Drawing> drawings;
    std::vector<ar::Generated> wanted;
    for (const uint64_t seed : {1, 2, 3}) {
      drawings.emplace_back(c.config, c.cache, seed);
      wanted.push_back(drawings.back().draw(whole));
    }
    EXPECT_FALSE(wanted[0].tokens.equal(wanted[1].tokens));  // the draw is a draw
    on_mesh(c.mesh, [&](Mesh& mesh) {
      const ar::PackedModel share = pack_share(made(c.config), c.weights, mesh);
      for (size_t i = 0; i < drawings.size(); ++i) {
        const ar::Generated drawn = drawings[i].draw(share);
        EXPECT_TRUE(drawn.tokens.equal(wanted[i].tokens)) << c.name;
        EXPECT_TRUE(drawn.log_probabilities.equal(wanted[i].log_probabilities)) << c.name;
      }
    });
  }
}

TEST(ShardedDrawing, RanksShareWeightsAndCaches) {
  const ar::Config config = smaller(tests::split_parti());
  const ar::PackedModel whole = ar::pack(made(config), WeightFormat::kInt8);
  on_mesh("tensor=2", [&](Mesh& mesh) {
    const ar::PackedModel share = pack_share(made(config), WeightFormat::kInt8, mesh);
    EXPECT_EQ(share.blocks[0].qkv.weight.outputs, 48);
    EXPECT_EQ(share.blocks[0].down.weight.outputs, 16);
    EXPECT_EQ(share.blocks[0].down.weight.inputs, 24);
    EXPECT_EQ(share.softmax.weight.outputs, 14);
    EXPECT_LT(ar::weight_bytes(share), ar::weight_bytes(whole));
  });
  const int64_t one = ar::Decoder::bytes(config, 4, at::kFloat);
  const int64_t half = ar::Decoder::bytes(config, 4, at::kFloat, 2);
  // 12 places of the picture and 7 of the text, keys and values, two blocks of width 32, four rows, float32.
  EXPECT_EQ(one - half, 2 * (12 + 7) * 2 * 32 * 4 * 4 / 2);
}

TEST(ShardedDrawing, AStepSendsWhatTheFormulaSays) {
  const ar::Config vim = smaller(tests::split_vim()), parti = smaller(tests::split_parti());
  ar::Config uneven = parti;
  uneven.width = 40;
  uneven.heads = 5;
  for (const ar::Config& config : {vim, parti, uneven}) {
    on_mesh("tensor=2", [&](Mesh& mesh) {
      const ar::PackedModel share = pack_share(made(config), WeightFormat::kFloat32, mesh);
      ar::Decoder decoder(share, 3, at::kFloat);
      decoder.start(tests::tiny_condition(config, 3));
      Group& group = mesh.along("tensor");
      group.forget_traffic();
      decoder.step(at::full({3}, 5, at::kLong));
      const Traffic traffic = group.traffic();
      EXPECT_EQ(traffic.by_collective.size(), 1U);
      EXPECT_EQ(traffic.by_collective.at("all_gather").bytes, step_bytes(config, 3, 2));
      const int64_t a_block = config.text_depth > 0 ? 6 : 3;
      EXPECT_EQ(traffic.by_collective.at("all_gather").calls, a_block * config.depth + 1);
    });
  }
}

TEST(ShardedDrawing, ARankWithoutAHeadNamesTheAxis) {
  const ar::Config config = tests::tiny_parti();  // two heads
  on_mesh("tensor=4", [&](Mesh& mesh) {
    tests::expect_error(ErrorKind::kUsage, "axis tensor: 4 ranks cannot share 2 heads",
                        [&] { pack_share(made(config), WeightFormat::kInt8, mesh); });
  });
}

}  // namespace
}  // namespace lexel::parallel
