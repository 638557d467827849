#include "autoregressive/parallel/annotations.h"

#include <gtest/gtest.h>
#include <string>

#include "autoregressive/model.h"
#include "autoregressive/parallel/layer_collectives.h"
#include "tests/autoregressive/parallel/split_model.h"
#include "tests/support/expect_error.h"

namespace lexel::parallel {
namespace {

using tests::expect_error;

const Placement kRows = Placement::along(0, "tensor");
const Placement kColumns = Placement::along(1, "tensor");
const MeshShape kTwo = parse_mesh("tensor=2");

std::string text_of(const Sharding& sharding, const std::string& weight) {
  return to_text(sharding.weight(weight));
}

TEST(Annotations, HiddenUnitsGoFromUpToDown) {
  const ar::Config config = tests::split_parti();
  const Sharding s = propagate(config, {{"*.up.weight", kRows}}, kTwo);
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.up.weight"), "split(0,tensor)");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.up.bias"), "split(0,tensor)");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.down.weight"), "split(1,tensor)");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.down.bias"), "replicate");
  EXPECT_EQ(text_of(s, "encoder.blocks.0.feed_forward.down.weight"), "split(1,tensor)");
  EXPECT_EQ(to_text(s.activation("decoder.blocks.1.feed_forward.hidden")), "split(2,tensor)");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.attention.qkv.weight"), "replicate");
  EXPECT_EQ(to_text(s.activation("decoder.stream")), "replicate");
}

TEST(Annotations, HeadsGoFromOutToQkv) {
  const Sharding s =
      propagate(tests::split_parti(), {{"decoder.blocks.0.attention.out.weight", kColumns}}, kTwo);
  EXPECT_EQ(text_of(s, "decoder.blocks.0.attention.qkv.weight"), "split(0,tensor)");
  EXPECT_EQ(text_of(s, "decoder.blocks.0.attention.qkv.bias"), "split(0,tensor)");
  EXPECT_EQ(text_of(s, "decoder.blocks.0.attention.out.bias"), "replicate");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.attention.qkv.weight"), "replicate");
}

TEST(Annotations, CrossAttentionsShareTheirHeads) {
  const Sharding s =
      propagate(tests::split_parti(), {{"decoder.blocks.0.cross.q.weight", kRows}}, kTwo);
  for (const char* block : {"0", "1"}) {
    EXPECT_EQ(text_of(s, concat("decoder.blocks.", block, ".cross.kv.weight")), "split(0,tensor)");
    EXPECT_EQ(text_of(s, concat("decoder.blocks.", block, ".cross.out.weight")), "split(1,tensor)");
  }
}

TEST(Annotations, ActivationsMayBeAnnotated) {
  const Sharding s =
      propagate(tests::split_parti(),
                {{"logits", Placement::along(2, "tensor")}, {"encoder.stream", kColumns}}, kTwo);
  EXPECT_EQ(text_of(s, "softmax.weight"), "split(0,tensor)");
  EXPECT_EQ(text_of(s, "softmax.bias"), "split(0,tensor)");
  EXPECT_EQ(text_of(s, "token_embedding.weight"), "replicate");
  EXPECT_EQ(to_text(s.activation("encoder.stream")), "split(1,tensor)");
  EXPECT_EQ(to_text(s.activation("decoder.stream")), "replicate");
}

TEST(Annotations, TheFirstThatFitsHolds) {
  const Sharding s = propagate(
      tests::split_parti(),
      {{"decoder.blocks.0.feed_forward.*", Placement::replicate()}, {"*.up.weight", kRows}}, kTwo);
  EXPECT_EQ(text_of(s, "decoder.blocks.0.feed_forward.down.weight"), "replicate");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.down.weight"), "split(1,tensor)");
}

TEST(Annotations, APlanSaysTheSame) {
  const ar::Config config = tests::split_parti();
  Plan plan = even_plan(config, kTwo, 2);
  const auto weights = [&](const std::vector<Annotation>& annotations) {
    return propagate(config, annotations, kTwo).weights;
  };
  EXPECT_EQ(sharding_of(config, plan).weights, weights(megatron_annotations(config)));
  EXPECT_FALSE(sharding_of(config, plan).activation("decoder.stream").split);
  plan.residual = "split";
  EXPECT_EQ(sharding_of(config, plan).activations,
            propagate(config, fully_partitioned_annotations(config), kTwo).activations);
}

TEST(Annotations, ErrorsNameWeightAndAxis) {
  const ar::Config config = tests::split_parti();
  const auto refuse = [&](const std::vector<Annotation>& annotations, const std::string& message) {
    expect_error(ErrorKind::kUsage, message, [&] { propagate(config, annotations, kTwo); });
  };
  refuse({{"*.up.weight", kRows}, {"*.down.weight", Placement::replicate()}},
         "axis tensor: encoder.blocks.0.feed_forward.down.weight replicate contradicts "
         "encoder.blocks.0.feed_forward.up.weight split(0,tensor)");
  refuse({{"*.down.weight", kRows}},
         "axis tensor: encoder.blocks.0.feed_forward.down.weight split(0,tensor) would split the "
         "width of the residual stream");
  refuse({{"*.attention.norm.weight", kRows}}, "axis tensor: encoder.blocks.0.attention.norm");
  refuse({{"decoder.stream", Placement::along(2, "tensor")}}, "axis tensor: decoder.stream");
  refuse({{"*.up.weight", Placement::along(2, "tensor")}}, "it has 2 dimensions");
  refuse({{"*.up.weight", Placement::along(0, "data")}},
         "axis data: encoder.blocks.0.feed_forward.up.weight split(0,data): expected axis tensor");
  refuse({{"*.upper.weight", kRows}}, "*.upper.weight fits no weight or activation");
  expect_error(ErrorKind::kUsage, "Sharding: the model has no nothing.weight",
               [&] { propagate(config, {}, kTwo).weight("nothing.weight"); });
}

TEST(Annotations, ExpertsLieOnAnAxisOfTheirOwn) {
  ar::Config config = tests::split_parti();
  config.experts = 4;
  const MeshShape mesh = parse_mesh("expert=2,tensor=2");
  std::vector<Annotation> annotations = megatron_annotations(config);
  annotations.push_back({"*.experts.*", Placement::along(0, "expert")});
  const Sharding s = propagate(config, annotations, mesh);
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.experts.up.weight"), "split(0,expert)");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.experts.down.weight"), "split(0,expert)");
  EXPECT_EQ(text_of(s, "decoder.blocks.1.feed_forward.router"), "replicate");
  EXPECT_EQ(text_of(s, "decoder.blocks.0.feed_forward.up.weight"), "split(0,tensor)");
  annotations.back().placement.axis = "tensor";
  expect_error(ErrorKind::kUsage,
               "axis tensor: decoder.blocks.1.feed_forward.experts.up.weight split(0,tensor): "
               "expected axis expert",
               [&] { propagate(config, annotations, mesh); });
}

TEST(Annotations, WhatDoesNotDivideNamesTheAxis) {
  ar::Config config = tests::split_parti();
  const auto refuse = [&](const std::string& message) {
    expect_error(ErrorKind::kUsage, message,
                 [&] { propagate(config, megatron_annotations(config), parse_mesh("tensor=4")); });
  };
  config.heads = 2;
  refuse(
      "axis tensor: encoder.blocks.0.attention.qkv.weight split(0,tensor): 2 heads do not divide "
      "among 4 ranks");
  config.heads = 4;
  config.hidden = 26;
  refuse("26 hidden units do not divide among 4 ranks");
  config.hidden = 24;
  config.codebook_size = 30;
  refuse("token_embedding.weight split(0,tensor): 30 codes do not divide among 4 ranks");
}

TEST(Annotations, TablesListWeightsAndCollectives) {
  const ar::Config config = tests::split_parti();
  const Sharding s = propagate(config, fully_partitioned_annotations(config), kTwo);
  const std::string weights = to_table(config, s);
  EXPECT_NE(weights.find("decoder.blocks.1.cross.kv.weight            64 x 32         "
                         "split(0,tensor)\n"),
            std::string::npos)
      << weights;
  const std::string calls = to_table(collectives_of(config, s));
  EXPECT_NE(calls.find("decoder.blocks.1.feed_forward.down      forward   reduce_scatter  tensor  "
                       "(B, N', 32)\n"),
            std::string::npos)
      << calls;
}

TEST(LayerCollectives, BytesByHand) {
  // One decoder block of width 32 without text, two pictures of 30 tokens, float32, two ranks: each all-reduce sends its tensor
  // once (2 (n - 1) / n), each of the others half of it.
  ar::Config config = tests::split_vim();
  config.depth = 1;
  config.conv_layers = "";
  config.attention_output = true;
  const PassShape pass{.batch = 2, .tokens = 30};
  const int64_t whole = 2 * 30 * 32 * 4;
  const auto traffic = [&](const std::vector<Annotation>& annotations) {
    return expected_traffic(collectives_of(config, propagate(config, annotations, kTwo)), "tensor",
                            2, pass);
  };
  const Traffic megatron = traffic(megatron_annotations(config));
  // qkv and up backward, out and down forward, softmax backward; the table of 29 tokens; 3 numbers a row of the loss.
  EXPECT_EQ(megatron.by_collective.at("all_reduce").bytes,
            5 * whole + 2 * 29 * 32 * 4 + 3 * 60 * 4);
  EXPECT_EQ(megatron.by_collective.size(), 1U);
  const Traffic parti = traffic(fully_partitioned_annotations(config));
  // Two gathers and two scatters a block and pass, one of each of softmax, and the gathered gradient of the input.
  EXPECT_EQ(parti.by_collective.at("all_gather").bytes, (3 + 2 + 1) * whole / 2);
  EXPECT_EQ(parti.by_collective.at("reduce_scatter").bytes, (2 + 3) * whole / 2);
  // Gradients of three norms and two biases beside the table and the loss.
  EXPECT_EQ(parti.by_collective.at("all_reduce").bytes,
            (3 * 2 + 2) * 32 * 4 + 2 * 29 * 32 * 4 + 3 * 60 * 4);
}

}  // namespace
}  // namespace lexel::parallel
