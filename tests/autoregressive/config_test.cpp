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
  const int64_t encoder =
      c.text_depth * (self + feed_forward) + 2 * d + (c.text_vocabulary + c.max_text_tokens) * d;
  const int64_t decoder =
      c.depth * (self + (text ? 2 * d + 4 * d * d + 4 * d : 0) + feed_forward) + 2 * d;
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
}

/// |count / wanted - 1|
double off(int64_t number, double wanted) {
  return std::abs(static_cast<double>(number) / wanted - 1.0);
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
  refused("activation: expected gelu or relu, got tanh", [](Config& c) { c.activation = "tanh"; });
  refused("grid_width: expected 1 to 256, got 257", [](Config& c) { c.grid_width = 257; });
  refused("codebook_size: expected 1 to 262144, got 0", [](Config& c) { c.codebook_size = 0; });
  refused("conv_kernel: expected an odd number, got 4", [](Config& c) { c.conv_kernel = 4; });
  refused("conv_kernel: expected at most grid_width 6, got 7",
          [](Config& c) { c.conv_kernel = 7; });
}

}  // namespace
}  // namespace lexel::ar
