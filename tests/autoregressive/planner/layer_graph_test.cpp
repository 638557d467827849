#include "autoregressive/planner/layer_graph.h"

#include <gtest/gtest.h>

#include "autoregressive/model.h"
#include "kernels/attention_mask.h"
#include "kernels/parameters.h"
#include "tests/support/expect_error.h"

namespace lexel::planner {
namespace {

/// Parti with experts as GLaM has them.
ar::Config sparse_parti(const std::string& routing = "token") {
  ar::Config config = ar::parti_750m();
  config.activation = "geglu";
  config.experts = 64;
  config.routing = routing;
  config.tasks = routing == "task" ? 5 : 0;
  return config;
}

TEST(LayerGraph, WeightsAreThoseOfTheModel) {
  std::vector<ar::Config> all = {sparse_parti(), sparse_parti("task"), sparse_parti("static")};
  for (const std::string& name : ar::preset_names()) all.push_back(ar::preset(name));
  all.push_back(sparse_parti());
  all.back().conv_layers = "0 1 2";
  all.push_back(ar::parti_350m());
  all.back().activation = "geglu";
  for (size_t i = 0; i < all.size(); ++i) {
    ar::Model layout = ar::model_layout(all[i]);
    EXPECT_EQ(layer_graph(all[i], {}).weights(),
              static_cast<double>(parameter_count(ar::parameters(layout))))
        << i;
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

TEST(LayerGraph, FlopsOfExpertsAndGatedLayersAreTheClosedFormula) {
  const double d = 1024, f = 4096, n = 1024, m = 128, k = 8192, e = 64;
  const double attention_m = m * 4 * d * d + 2 * m * m * d,
               attention_n = n * 6 * d * d + m * 2 * d * d + n * (n + 1) * d + 2 * n * m * d;
  const auto expected = [&](double sparse_m, double sparse_n) {
    return 2 * (12 * attention_m + 6 * (3 * m * d * f + sparse_m) + 36 * attention_n +
                18 * (3 * n * d * f + sparse_n) + n * d * k);
  };
  // Gated layers have three matrices. By token: the router, and E C rows of which C = ceil(2 n / E).
  EXPECT_DOUBLE_EQ(layer_graph(sparse_parti(), {}).flops(),
                   expected(m * d * e + e * 4 * 2 * d * f, n * d * e + e * 32 * 2 * d * f));
  ar::Config tight = sparse_parti();
  tight.capacity_factor = 0.6;
  EXPECT_DOUBLE_EQ(layer_graph(tight, {}).flops(),
                   expected(m * d * e + e * 3 * 2 * d * f, n * d * e + e * 20 * 2 * d * f));
  // By task each token has both its experts; experts of one task are a dense layer of E hidden units.
  EXPECT_DOUBLE_EQ(layer_graph(sparse_parti("task"), {}).flops(),
                   expected(m * 4 * d * f, n * 4 * d * f));
  ar::Config extracted = sparse_parti("static");
  extracted.experts = 2;
  EXPECT_DOUBLE_EQ(layer_graph(extracted, {}).flops(), expected(m * 4 * d * f, n * 4 * d * f));
}

TEST(LayerGraph, RowsOfExpertsAreThoseOfTheirBuffer) {
  EXPECT_EQ(expert_rows(sparse_parti(), 1024, 3, 1), 64 * 3 * 32);
  EXPECT_EQ(expert_rows(sparse_parti(), 1024, 3, 4), 64 * 3 * 32);
  EXPECT_EQ(expert_rows(sparse_parti("task"), 1024, 3, 1), 2 * 3 * 1024);
  EXPECT_EQ(expert_rows(sparse_parti("task"), 1024, 3, 4), 64 * 1024);
  EXPECT_EQ(expert_rows(sparse_parti("task"), 1024, 64, 4), 64 * 2 * 1024);
}

TEST(LayerGraph, BlocksThatAreAlikeArePlannedOnce) {
  const LayerGraph graph = layer_graph(ar::parti_20b(), {});
  EXPECT_EQ(graph.decoder.size(), 64u);
  EXPECT_EQ(graph.encoder.size(), 16u);
  EXPECT_EQ(graph.layers.size(), 6u);
  const LayerGraph sparse = layer_graph(sparse_parti(), {});
  EXPECT_EQ(sparse.layers.size(), 8u);
  EXPECT_EQ(sparse.layers[sparse.decoder[1]].name, "decoder block, experts");
  EXPECT_EQ(sparse.decoder[1], sparse.decoder[35]);
  EXPECT_EQ(layer_graph(sparse_parti("static"), {}).layers.size(), 8u);
  tests::expect_error(ErrorKind::kUsage, "expected a layer without experts", [&] {
    sharding_problem(sparse.layers[sparse.decoder[1]], sparse.config, 1, 1e12, {});
  });
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
