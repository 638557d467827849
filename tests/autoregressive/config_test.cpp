#include "autoregressive/config.h"

#include <ATen/ops/zeros.h>
#include <cstdlib>
#include <gtest/gtest.h>

#include "autoregressive/model.h"
#include "kernels/attention.h"
#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"

namespace lexel::ar {
namespace {

using tests::expect_error;

/// The formula of autoregressive/model.h.
int64_t expected_count(const Config& c) {
  const int64_t d = c.width, f = c.hidden;
  const int64_t feed_forward = 2 * d + 2 * d * f + f + d;
  const int64_t self = 2 * d + 3 * d * d + 3 * d + (c.attention_output ? d * d + d : 0);
  const bool text = c.text_depth > 0;
  const int64_t dense = feed_forward + (c.activation == "geglu" ? d * f + f : 0);
  const int64_t x = c.experts;
  const int64_t sparse = c.routing == "static" ? 2 * d + 2 * d * x * f + x * f + d
                                               : 2 * d + x * d + c.tasks * d + 2 * x * d * f;
  const auto layers = [&](int64_t depth) {
    const int64_t others = x > 0 ? depth / 2 : 0;  // blocks 1, 3, ...
    return (depth - others) * dense + others * sparse;
  };
  const int64_t encoder = c.text_depth * self + layers(c.text_depth) + 2 * d +
                          (c.text_vocabulary + c.max_text_tokens) * d;
  const int64_t decoder =
      c.depth * (self + (text ? 2 * d + 4 * d * d + 4 * d : 0)) + layers(c.depth) + 2 * d;
  const int64_t embeddings = (c.classes + 1 + c.codebook_size + c.grid_height + c.grid_width) * d;
  return (text ? encoder : 0) + decoder + embeddings + c.codebook_size * d + c.codebook_size;
}

int64_t count(const Config& config) {
  Model layout = model_layout(config);
  return parameter_count(parameters(layout));
}

TEST(ConfigCountTest, EqualsTheFormulaForEveryPreset) {
  for (const std::string& name : preset_names()) {
    EXPECT_EQ(count(preset(name)), expected_count(preset(name))) << name;
  }
  EXPECT_EQ(count(tests::tiny_parti()), expected_count(tests::tiny_parti()));
  EXPECT_EQ(count(tests::tiny_vim()), expected_count(tests::tiny_vim()));
  Config config = tests::tiny_parti();
  config.text_depth = 3;
  config.depth = 5;
  config.experts = 6;
  EXPECT_EQ(count(config), expected_count(config));
  config.routing = "static";
  EXPECT_EQ(count(config), expected_count(config));
  config.routing = "task";
  config.tasks = 4;
  config.activation = "geglu";
  EXPECT_EQ(count(config), expected_count(config));
}

/// |count / wanted - 1|
double off(int64_t number, double wanted) {
  return std::abs(static_cast<double>(number) / wanted - 1.0);
}

/// Numbers in the matrices of blocks whose name has `part`.
int64_t matrix_count(const Config& config, const std::string& part) {
  Model layout = model_layout(config);
  int64_t sum = 0;
  for (const Parameter& p : parameters(layout)) {
    if (p.shape.size() == 2 && p.name.ends_with(".weight") &&
        p.name.find(part) != std::string::npos) {
      sum += p.shape[0] * p.shape[1];
    }
  }
  return sum;
}

/// GLaM's count: attention of `heads` heads of width `head`, every other layer dense GLU of three matrices, the others
/// `experts` of two, and 256,000 embeddings.
double glam_count(double depth, double width, double hidden, double heads, double head,
                  double experts) {
  return 4 * width * heads * head * depth + depth / 2 * 3 * width * hidden +
         depth / 2 * experts * 2 * width * hidden + 256000 * width;
}

TEST(ConfigCountTest, GlamsTableCountsTwoMatricesAnExpertAndThreeADenseLayer) {
  const auto counted = [](const Config& c) {
    return double(matrix_count(c, ".blocks.") + c.codebook_size * c.width);
  };
  EXPECT_EQ(counted(glam_100m_64e()), glam_count(12, 768, 3072, 12, 64, 64));
  EXPECT_EQ(counted(glam_1b7_64e()), glam_count(24, 2048, 8192, 16, 128, 64));
  EXPECT_EQ(counted(glam_8b_64e()), glam_count(32, 4096, 16384, 32, 128, 64));
  // The table, in 10^9: 27, 53 and 105 with 64, 128 and 256 experts, 143, 1162 of which 96.6 are used by a token (the largest has
  // heads of twice the width together); 1.9 for the smallest is without embeddings.
  EXPECT_NEAR(glam_count(12, 768, 3072, 12, 64, 64) / 1e9 - 256000 * 768 / 1e9, 1.9, 0.05);
  EXPECT_NEAR(glam_count(24, 2048, 8192, 16, 128, 64) / 1e9, 27.3, 0.05);
  EXPECT_NEAR(glam_count(24, 2048, 8192, 16, 128, 128) / 1e9, 53.1, 0.05);
  EXPECT_NEAR(glam_count(24, 2048, 8192, 16, 128, 256) / 1e9, 104.6, 0.05);
  EXPECT_NEAR(glam_count(32, 4096, 16384, 32, 128, 64) / 1e9, 143.9, 0.05);
  EXPECT_NEAR(glam_count(64, 8192, 32768, 128, 128, 64) / 1e9, 1162, 0.5);
  EXPECT_NEAR(glam_count(64, 8192, 32768, 128, 128, 2) / 1e9, 96.586, 0.0005);
}

TEST(ConfigCountTest, GshardsTableCountsTheExperts) {
  const struct {
    int64_t experts, depth;
    double billions;
  } rows[] = {{2048, 36, 618}, {2048, 12, 206}, {512, 36, 155},
              {512, 12, 51.5}, {128, 36, 38.7}, {128, 12, 12.9}};
  for (const auto& row : rows) {
    Config config = vim_base();
    config.depth = row.depth;
    config.width = 1024;
    config.hidden = 8192;
    config.experts = row.experts;
    const int64_t experts = matrix_count(config, ".experts.");
    EXPECT_EQ(experts, row.experts * (row.depth / 2) * 2 * 1024 * 8192);
    EXPECT_LT(off(experts, row.billions * 1e9), 0.003) << row.experts << " " << row.depth;
  }
}

TEST(ConfigCountTest, PartisTableCountsTheBlocks) {
  EXPECT_LT(off(block_parameter_count(parti_350m()), 350e6), 0.01);
  EXPECT_LT(off(block_parameter_count(parti_750m()), 750e6), 0.01);
  EXPECT_LT(off(block_parameter_count(parti_3b()), 3e9), 0.01);
  // The table says 20B; its own widths and depths make 12 D^2 16 + 16 D^2 64 = 20.4B.
  EXPECT_LT(off(block_parameter_count(parti_20b()), 20.4e9), 0.01);
}

TEST(ConfigCountTest, VimsTableCountsEverythingAndThreeMatricesOfAttention) {
  // 0.3 %: the table's counts have one position vector a token (1024 D), ours one a row and one a column (64 D).
  EXPECT_LT(off(count(vim_base()), 650e6), 0.003);
  EXPECT_LT(off(count(vim_large()), 1697e6), 0.003);
  const auto with_full_positions = [](const Config& c) { return count(c) + (1024 - 64) * c.width; };
  EXPECT_LT(off(with_full_positions(vim_base()), 650e6), 0.001);
  EXPECT_LT(off(with_full_positions(vim_large()), 1697e6), 0.001);
  Config four = vim_base();
  four.attention_output = true;
  EXPECT_GT(off(count(four), 650e6), 0.05);
}

TEST(ConfigPresetTest, AllAreValidAndUnknownNamesAreAnsweredWithTheList) {
  for (const std::string& name : preset_names()) EXPECT_NO_THROW(validate(preset(name))) << name;
  expect_error(ErrorKind::kUsage, "preset: expected one of parti-350m, parti-750m, parti-3b",
               [] { preset("parti"); });
}

TEST(ConfigConvTest, TheMaskHasTheSixtyOneOffsetsOfTheTable) {
  Config config = parti_350m();
  config.conv_layers = "11";
  validate(config);
  const auto mask = kernels::AttentionMask::conv(config.grid_width, config.conv_kernel);
  const int64_t n = config.grid_height * config.grid_width;
  const at::Tensor table = kernels::mask_table(mask, n, n);
  // {0..5} and {32 r - 5 .. 32 r + 5, r = 1..5}, for a query that has all of them before it.
  std::vector<int64_t> offsets;
  for (int64_t o = 0; o <= 5; ++o) offsets.push_back(o);
  for (int64_t r = 1; r <= 5; ++r) {
    for (int64_t o = 32 * r - 5; o <= 32 * r + 5; ++o) offsets.push_back(o);
  }
  ASSERT_EQ(offsets.size(), 61U);
  for (int64_t query = 0; query < n; ++query) {
    at::Tensor expected = at::zeros({n}, at::kBool);
    for (const int64_t o : offsets) {
      if (query >= o) expected[query - o] = true;
    }
    ASSERT_TRUE(table[query].equal(expected)) << query;
  }
}

TEST(ConfigConvTest, ABlockWithTheMaskReadsTheseTokensOnly) {
  Config config = tests::tiny_vim();
  config.depth = 1;
  config.conv_layers = "0";
  const Model model = make_model(config, 1, at::kCPU);
  const Condition condition = tests::tiny_condition(config, 1);
  const at::Tensor ids = tests::tiny_tokens(config, 1);
  const at::Tensor before = logits(model, condition, ids);
  at::Tensor changed = ids.clone();
  changed[0][7] = (ids[0][7].item<int64_t>() + 1) % 29;  // place 8 holds it
  const at::Tensor moved = (logits(model, condition, changed) - before).abs().amax(2)[0].gt(0);
  for (int64_t place = 0; place < 30; ++place) {
    const int64_t o = place - 8;
    EXPECT_EQ(moved[place].item<bool>(), o == 0 || o == 1 || (o >= 5 && o <= 7)) << place;
  }
}

TEST(ConfigConvTest, BlocksAreAListAllOrNone) {
  Config config = tests::tiny_parti();
  config.depth = 4;
  const auto blocks = [&](const char* text) {
    config.conv_layers = text;
    return conv_blocks(config);
  };
  EXPECT_EQ(blocks(""), (std::vector<bool>{false, false, false, false}));
  EXPECT_EQ(blocks("all"), (std::vector<bool>{true, true, true, true}));
  EXPECT_EQ(blocks("3 1"), (std::vector<bool>{false, true, false, true}));
  for (const char* wrong : {"4", "-1", "1,2", "x", "1 all"}) {
    expect_error(ErrorKind::kUsage, "conv_layers: expected \"all\" or numbers in 0 to 3",
                 [&] { blocks(wrong); });
  }
}

TEST(ConfigValidateTest, FieldsAndValuesAreNamed) {
  const auto refused = [](const char* words, auto&& change) {
    Config config = tests::tiny_parti();
    change(config);
    expect_error(ErrorKind::kUsage, std::string("ar::validate: ") + words,
                 [&] { validate(config); });
  };
  refused("depth: expected 1 to 256, got 0", [](Config& c) { c.depth = 0; });
  refused("text_depth: expected 0 to 256, got -1", [](Config& c) { c.text_depth = -1; });
  refused("text_vocabulary: expected 1", [](Config& c) { c.text_vocabulary = 0; });
  refused("max_text_tokens: expected 1 to 4096, got 0", [](Config& c) { c.max_text_tokens = 0; });
  refused("classes: expected 0 with text, got 3", [](Config& c) { c.classes = 3; });
  refused("heads: expected a divisor of width 16, got 3", [](Config& c) { c.heads = 3; });
  refused("activation: expected gelu, relu or geglu, got tanh",
          [](Config& c) { c.activation = "tanh"; });
  refused("experts: expected 0, or 2 to 65536, got 1", [](Config& c) { c.experts = 1; });
  refused("capacity_factor: expected above 0, at most 65536, got 0",
          [](Config& c) { c.capacity_factor = 0.0; });
  refused("gating: expected gshard or lingvo, got top1", [](Config& c) { c.gating = "top1"; });
  refused("routing: expected token, task or static, got hash",
          [](Config& c) { c.routing = "hash"; });
  refused("auxiliary_weight: expected at least 0, got -1",
          [](Config& c) { c.auxiliary_weight = -1.0; });
  refused("tasks: expected 0 where experts are not routed by task, got 2", [](Config& c) {
    c.experts = 4;
    c.tasks = 2;
  });
  refused("tasks: expected 1 to 65536, got 0", [](Config& c) {
    c.experts = 4;
    c.routing = "task";
  });
  refused("depth: expected at least 2 with experts, got 1", [](Config& c) {
    c.experts = 4;
    c.depth = 1;
    c.conv_layers = "";
  });
  refused("grid_width: expected 1 to 256, got 257", [](Config& c) { c.grid_width = 257; });
  refused("codebook_size: expected 1 to 262144, got 0", [](Config& c) { c.codebook_size = 0; });
  refused("conv_kernel: expected an odd number, got 4", [](Config& c) { c.conv_kernel = 4; });
  refused("conv_kernel: expected at most grid_width 6, got 7",
          [](Config& c) { c.conv_kernel = 7; });
}

}  // namespace
}  // namespace lexel::ar
