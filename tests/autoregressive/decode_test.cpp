#include "autoregressive/decode.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"

namespace lexel::ar {
namespace {

using kernels::WeightFormat;
using tests::expect_error;
using tests::random_ids;
using tests::relative_difference;

Model random_model(const Config& config, uint64_t seed = 1) {
  Model model = make_model(config, seed, at::kCPU);
  tests::fill_zeros(model);
  return model;
}

Model in_double(Model model) {
  tests::to_double(model);
  return model;
}

/// The uncached logits, float64 throughout: (B, N, K).
at::Tensor wanted_logits(const Model& model, const Condition& condition, const at::Tensor& tokens) {
  ForwardOptions options;
  options.compute = at::kDouble;
  return logits(in_double(model), condition, tokens, options);
}

/// The logits of tokens first .. N-1, the first `first` tokens given at the start: (B, N - first, K).
at::Tensor cached_logits(const PackedModel& packed, const Condition& condition,
                         const at::Tensor& tokens, at::ScalarType cache, int64_t first = 0) {
  Decoder decoder(packed, tokens.size(0), cache);
  std::vector<at::Tensor> steps{decoder.start(condition, tokens.slice(1, 0, first))};
  for (int64_t p = first; p + 1 < tokens.size(1); ++p) {
    EXPECT_EQ(decoder.position(), p);
    steps.push_back(decoder.step(tokens.select(1, p)));
  }
  return at::stack(steps, 1);
}

struct Case {
  const char* name;
  Config config;
  // What a rounded cache may change. Where two experts are near equally likely, it may send a token to the other.
  double rounded = 0.01;
};

std::vector<Case> cases() {
  Config dense = tests::tiny_parti(), conv = tests::tiny_parti(), relu = tests::tiny_parti();
  Config unconditional = tests::tiny_vim(), experts = tests::tiny_experts();
  Config geglu = tests::tiny_parti(), one_task = tests::tiny_experts(), gated = experts;
  geglu.activation = gated.activation = "geglu";
  one_task.routing = "static";
  dense.conv_layers = "";
  conv.conv_layers = "all";
  conv.conv_kernel = 5;
  relu.activation = "relu";
  relu.width = 40;
  relu.heads = 5;
  unconditional.classes = 0;
  return {{"Mixed", tests::tiny_parti()},
          {"Dense", dense},
          {"Conv", conv},
          {"Relu", relu},
          {"Vim", tests::tiny_vim()},
          {"Unconditional", unconditional},
          {"Geglu", geglu},
          {"Experts", experts, 0.1},
          {"GluAndExperts", gated, 0.1},
          {"ExpertsOfOneTask", one_task},
          {"ExpertsByTask", tests::tiny_experts("task")}};
}

class DecodeTest : public testing::TestWithParam<Case> {};

// float32 weights and cache: what is left is the rounding of float32 sums, 2^-24 of numbers near 1 in a few dozen operations.
TEST_P(DecodeTest, CachedEqualsUncachedInFloat64) {
  const Model model = random_model(GetParam().config);
  const PackedModel packed = pack(model, WeightFormat::kFloat32);
  for (const int64_t rows : {1, 3}) {  // of lengths that differ
    const Condition condition = tests::tiny_condition(model.config, rows);
    const at::Tensor tokens = tests::tiny_tokens(model.config, rows);
    const at::Tensor wanted = wanted_logits(model, condition, tokens);
    const at::Tensor got = cached_logits(packed, condition, tokens, at::kFloat);
    EXPECT_LT(relative_difference(got, wanted), 3e-6) << rows << " rows";
  }
}

TEST_P(DecodeTest, PrefillGivesTheBitsOfSteps) {
  const Model model = random_model(GetParam().config);
  const PackedModel packed = pack(model, WeightFormat::kInt8);
  const Condition condition = tests::tiny_condition(model.config, 3);
  const at::Tensor tokens = tests::tiny_tokens(model.config, 3);
  for (const at::ScalarType cache : {at::kFloat, at::kBFloat16, at::kChar}) {
    const at::Tensor wanted = cached_logits(packed, condition, tokens, cache);
    for (const int64_t first : {1, 2, 5, 17, 29}) {
      const at::Tensor got = cached_logits(packed, condition, tokens, cache, first);
      EXPECT_TRUE(at::equal(got, wanted.slice(1, first))) << first << " given";
    }
    Decoder decoder(packed, 3, cache);  // and when known tokens come later
    decoder.start(condition, tokens.slice(1, 0, 2));
    decoder.step(tokens.select(1, 2));
    const at::Tensor got = decoder.feed(tokens.slice(1, 3, 20));
    EXPECT_TRUE(at::equal(got, wanted.select(1, 20)));
    EXPECT_EQ(decoder.position(), 20);
  }
}

TEST_P(DecodeTest, ARowIsTheSameAloneAndInAnyCompany) {
  const Model model = random_model(GetParam().config);
  const PackedModel packed = pack(model, WeightFormat::kInt8);
  const Condition condition = tests::tiny_condition(model.config, 16);
  const at::Tensor tokens = tests::tiny_tokens(model.config, 16);
  const at::Tensor all = cached_logits(packed, condition, tokens, at::kBFloat16);
  for (const int64_t row : {0, 3, 15}) {
    const auto own = [row](const at::Tensor& x) {
      return x.defined() ? x.slice(0, row, row + 1) : x;
    };
    Condition alone{own(condition.text), own(condition.lengths), own(condition.classes),
                    own(condition.tasks)};
    if (alone.text.defined()) {  // padding of another width and content
      const int64_t length = alone.lengths.item<int64_t>();
      alone.text = at::cat({alone.text.slice(1, 0, length), random_ids(77, {1, 1}, 40)}, 1)
                       .slice(1, 0, model.config.max_text_tokens);
    }
    EXPECT_TRUE(at::equal(cached_logits(packed, alone, own(tokens), at::kBFloat16, 4),
                          own(all).slice(1, 4)))
        << "row " << row;
  }
}

TEST_P(DecodeTest, RoundedWeightsGiveTheLogitsOfTheRoundedModel) {
  const Model model = random_model(GetParam().config);
  const Condition condition = tests::tiny_condition(model.config, 2);
  const at::Tensor tokens = tests::tiny_tokens(model.config, 2);
  for (const WeightFormat format : {WeightFormat::kBFloat16, WeightFormat::kInt8}) {
    const PackedModel packed = pack(model, format);
    const Model rounded = unpack(packed);
    const at::Tensor wanted = wanted_logits(rounded, condition, tokens);
    EXPECT_LT(relative_difference(cached_logits(packed, condition, tokens, at::kFloat), wanted),
              3e-6);
    // A cache of 8 bits (bfloat16) or 7 and a scale: half a unit of each key and value.
    EXPECT_LT(relative_difference(cached_logits(packed, condition, tokens, at::kBFloat16), wanted),
              GetParam().rounded);
    EXPECT_LT(relative_difference(cached_logits(packed, condition, tokens, at::kChar), wanted),
              GetParam().rounded);
    EXPECT_GT(relative_difference(wanted_logits(model, condition, tokens), wanted), 1e-4);
  }
}

TEST_P(DecodeTest, ThreadsDoNotMatter) {
  const Model model = random_model(GetParam().config);
  const PackedModel packed = pack(model, WeightFormat::kInt8);
  const Condition condition = tests::tiny_condition(model.config, 2);
  const at::Tensor tokens = tests::tiny_tokens(model.config, 2);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = cached_logits(packed, condition, tokens, at::kBFloat16);
  for (const int count : {2, 3}) {
    at::set_num_threads(count);
    EXPECT_TRUE(at::equal(cached_logits(packed, condition, tokens, at::kBFloat16), one)) << count;
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(All, DecodeTest, testing::ValuesIn(cases()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(DecoderTest, StartsAgainForOtherPictures) {
  const PackedModel packed = pack(random_model(tests::tiny_parti()), WeightFormat::kFloat32);
  const Condition first = tests::tiny_condition(packed.model.config, 2, 5);
  const Condition second = tests::tiny_condition(packed.model.config, 2, 6);
  const at::Tensor tokens = tests::tiny_tokens(packed.model.config, 2);
  Decoder decoder(packed, 2, at::kFloat);
  decoder.start(first, tokens.slice(1, 0, 20));
  const at::Tensor again = decoder.start(second, tokens.slice(1, 0, 3));
  Decoder fresh(packed, 2, at::kFloat);
  EXPECT_TRUE(at::equal(again, fresh.start(second, tokens.slice(1, 0, 3))));
}

TEST(DecoderTest, RejectsWhatCannotBe) {
  const PackedModel packed = pack(random_model(tests::tiny_parti()), WeightFormat::kFloat32);
  const Condition condition = tests::tiny_condition(packed.model.config, 2);
  const at::Tensor tokens = tests::tiny_tokens(packed.model.config, 2);
  const auto expect_bad = [](const std::string& message, auto&& run) {
    expect_error(ErrorKind::kUsage, message, run);
  };
  expect_bad("1 to 16 rows, got 0", [&] { Decoder(packed, 0, at::kFloat); });
  expect_bad("1 to 16 rows, got 17", [&] { Decoder(packed, 17, at::kFloat); });
  expect_bad("got Half", [&] { Decoder(packed, 1, at::kHalf); });
  Decoder decoder(packed, 2, at::kFloat);
  expect_bad("start()", [&] { decoder.step(tokens.select(1, 0)); });
  expect_bad("for 2 rows", [&] { decoder.start(tests::tiny_condition(packed.model.config, 3)); });
  expect_bad("fewer than 30 given tokens, got 30", [&] { decoder.start(condition, tokens); });
  expect_bad("0..28, got 29",
             [&] { decoder.start(condition, tokens.slice(1, 0, 3).add(29).clamp(0, 29)); });
  decoder.start(condition, tokens.slice(1, 0, 28));
  expect_bad("got Float", [&] { decoder.step(tokens.select(1, 28).to(at::kFloat)); });
  decoder.step(tokens.select(1, 28));
  expect_bad("after token 29 of 30", [&] { decoder.step(tokens.select(1, 29)); });
}

TEST(DecoderTest, SaysWhatMemoryIsMissingBeforeItTakesAny) {
  Config config = tests::tiny_vim();
  config.depth = 256;
  config.grid_height = config.grid_width = 256;
  config.hidden = 8;
  config.heads = 1;
  config.conv_layers = "";
  config.width = 128;
  const PackedModel packed = pack(make_model(config, 1, at::kCPU), WeightFormat::kInt8);
  // Keys and values: 256 blocks, 16 rows, 65536 places, 128 numbers of 4 bytes each.
  const int64_t caches = int64_t{2} * 256 * 16 * 65536 * 128 * 4;
  EXPECT_GT(Decoder::bytes(config, 16, at::kFloat), caches);
  EXPECT_LT(Decoder::bytes(config, 16, at::kFloat), caches + (caches >> 6));
  expect_error(ErrorKind::kUnsupported,
               concat("needs ", Decoder::bytes(config, 16, at::kFloat), " bytes of memory, "),
               [&] { Decoder(packed, 16, at::kFloat); });
}

}  // namespace
}  // namespace lexel::ar
