#include "autoregressive/planner/layer_graph.h"

#include <gtest/gtest.h>

#include "autoregressive/model.h"
#include "kernels/attention_mask.h"
#include "kernels/parameters.h"
#include "tests/support/expect_error.h"

namespace lexel::planner {
namespace {

TEST(LayerGraph, WeightsAreThoseOfTheModel) {
  for (const std::string& name : ar::preset_names()) {
    const ar::Config config = ar::preset(name);
    if (config.experts > 0) continue;
    ar::Model layout = ar::model_layout(config);
    EXPECT_EQ(layer_graph(config, {}).weights(),
              static_cast<double>(parameter_count(ar::parameters(layout))))
        << name;
  }
}

TEST(LayerGraph, FlopsAreTheClosedFormula) {
  for (const char* name : {"parti-350m", "parti-750m", "parti-3b", "parti-20b"}) {
    const ar::Config c = ar::preset(name);
    const double d = double(c.width), f = double(c.hidden), n = 1024, m = 128, k = 8192;
    const double encoder = m * (4 * d * d + 2 * d * f) + 2 * m * m * d;
    const double decoder =
        n * (6 * d * d + 2 * d * f) + m * 2 * d * d + n * (n + 1) * d + 2 * n * m * d;
    const double expected =
        2 * (double(c.text_depth) * encoder + double(c.depth) * decoder + n * d * k);
    EXPECT_DOUBLE_EQ(layer_graph(c, {}).flops(), expected) << name;
  }
}

TEST(LayerGraph, ConvMaskedBlocksCountThePairsTheySee) {
  ar::Config config = ar::parti_lexel_128();
  const double dense = layer_graph(config, {}).flops();
  config.conv_layers = "1 3";
  const LayerGraph graph = layer_graph(config, {});
  const auto mask = kernels::AttentionMask::conv(16, 11);
  double seen = 0;
  for (int64_t q = 0; q < 256; ++q)
    for (int64_t k = 0; k < 256; ++k) seen += mask.allows(q, k);
  EXPECT_DOUBLE_EQ(dense - graph.flops(), 2 * 4 * (256 * 257 / 2.0 - seen) * 320);
  EXPECT_EQ(graph.decoder[0], graph.decoder[2]);
  EXPECT_EQ(graph.decoder[1], graph.decoder[3]);
  EXPECT_NE(graph.decoder[0], graph.decoder[1]);
}

TEST(LayerGraph, KeptBytesOfABlockAreCountedByHand) {
  // One encoder block of D 8, F 32, H 2 on 16 tokens, float32, no dropout: input and result of both norms; q k v and
  // attention's result, a sum for each head; input and result of the activation.
  ar::Config config = ar::parti_lexel_128();
  config.width = 8;
  config.hidden = 32;
  config.heads = 2;
  config.max_text_tokens = 16;
  Training training;
  training.compute_bytes = 4;
  training.dropout = 0;
  const LayerGraph graph = layer_graph(config, training);
  double kept = 0, once = 0;
  for (const ModelOperator& op : graph.layers[graph.encoder[0]].operators) {
    kept += op.kept_split + op.kept_stream + op.kept_whole;
    once += op.kept_once;
  }
  EXPECT_EQ(kept, 16 * 4.0 * (2 * (8 + 8) + 4 * 8 + 2 + 2 * 32));
  EXPECT_EQ(once, 0);
}

TEST(LayerGraph, ExpertsAreRefused) {
  tests::expect_error(ErrorKind::kUnsupported,
                      "expected a dense model with gelu or relu, got 64 experts",
                      [] { layer_graph(ar::preset("glam-0.1b-64e"), {}); });
}

TEST(LayerGraph, BlocksThatAreAlikeArePlannedOnce) {
  const LayerGraph graph = layer_graph(ar::parti_20b(), {});
  EXPECT_EQ(graph.decoder.size(), 64u);
  EXPECT_EQ(graph.encoder.size(), 16u);
  EXPECT_EQ(graph.layers.size(), 6u);
}

TEST(LayerGraph, TensorParallelTakesTwoOrThreeReductionsABlockEachWay) {
  // Residual stream whole: Megatron's all-reduces, one for each sublayer each way.
  const LayerGraph graph = layer_graph(ar::parti_350m(), {});
  const DeviceMesh mesh{{1, 4}, {Link{0, 0}, Link{0, 1}}, false};
  Layouts layouts;
  layouts.executable = true;
  layouts.element_bytes = 2;
  const auto sent = [&](size_t layer) {
    const auto problem = sharding_problem(graph.layers[layer], graph.config, 2, 1e12, {});
    const IntraPlan plan = plan_operators(problem, mesh, layouts);
    std::map<std::string, double> bytes;
    for (const Transfer& transfer : plan.forward) count_bytes(mesh, transfer, 1, bytes);
    for (const Transfer& transfer : plan.backward) count_bytes(mesh, transfer, 1, bytes);
    EXPECT_LE(bytes.size(), 1u);
    return bytes["all_reduce"];
  };
  const double text = 2 * 0.75 * 2 * 128 * 1024 * 2, picture = 2 * 0.75 * 2 * 1024 * 1024 * 2;
  EXPECT_DOUBLE_EQ(sent(graph.encoder[0]), 4 * text);
  EXPECT_DOUBLE_EQ(sent(graph.decoder[0]), 6 * picture);
  EXPECT_DOUBLE_EQ(sent(graph.tables), picture);
  EXPECT_DOUBLE_EQ(sent(graph.loss), picture);
}

}  // namespace
}  // namespace lexel::planner
