#include "autoregressive/generate.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <string>

#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"

namespace lexel::ar {
namespace {

using kernels::WeightFormat;
using tests::expect_error;

Model random_model(const Config& config) {
  Model model = make_model(config, 1, at::kCPU);
  tests::fill_zeros(model);
  return model;
}

PackedModel random_packed(const Config& config) {
  return pack(random_model(config), WeightFormat::kInt8);
}

/// "No class", or a caption of one piece.
Condition unconditional_of(const Config& config) {
  Condition condition;
  if (config.text_depth > 0) {
    condition.text = at::full({1, 1}, 2, at::kLong);
    condition.lengths = at::full({1}, 1, at::kLong);
  } else {
    condition.classes = at::full({1}, config.classes, at::kLong);
  }
  return condition;
}

Condition rows_of(const Condition& condition, int64_t first, int64_t count) {
  const auto rows = [&](const at::Tensor& x) {
    return x.defined() ? x.slice(0, first, first + count) : x;
  };
  return {rows(condition.text), rows(condition.lengths), rows(condition.classes)};
}

GenerateOptions usual_options() {
  GenerateOptions options;
  options.guidance = 2.0;
  options.top_k = 20;
  options.top_p = 0.98;
  options.seed = 5;
  return options;
}

at::Tensor numbers(int64_t first, int64_t count) {
  return at::arange(first, first + count, at::kLong);
}

bool equal(const Generated& a, const Generated& b) {
  return at::equal(a.tokens, b.tokens) && at::equal(a.log_probabilities, b.log_probabilities);
}

Generated rows_of(const Generated& all, int64_t first, int64_t count) {
  return {all.tokens.slice(0, first, first + count),
          all.log_probabilities.slice(0, first, first + count)};
}

class GenerateTest : public testing::TestWithParam<std::string> {
 protected:
  Config config() const { return GetParam() == "Parti" ? tests::tiny_parti() : tests::tiny_vim(); }
};

TEST_P(GenerateTest, APictureIsTheSameAloneAndInAnyBatch) {
  const PackedModel model = random_packed(config());
  const Condition none = unconditional_of(model.model.config);
  for (const double guidance : {1.0, 2.0}) {
    GenerateOptions options = usual_options();
    options.guidance = guidance;
    const Condition condition =
        tests::tiny_condition(model.model.config, 19);  // three groups, or two
    const Generated all = generate(model, condition, none, numbers(40, 19), options);
    EXPECT_GE(all.tokens.min().item<int64_t>(), 0);
    EXPECT_LT(all.tokens.max().item<int64_t>(), 29);
    EXPECT_TRUE(all.log_probabilities.le(0).all().item<bool>());
    for (const auto& [first, count] : {std::pair{3, 1}, {8, 1}, {18, 1}, {5, 9}}) {
      const Generated some = generate(model, rows_of(condition, first, count), none,
                                      numbers(40 + first, count), options);
      EXPECT_TRUE(equal(some, rows_of(all, first, count))) << first << " guidance " << guidance;
    }
    const Generated others =
        generate(model, rows_of(condition, 3, 1), none, numbers(44, 1), options);
    EXPECT_FALSE(at::equal(others.tokens, all.tokens.slice(0, 3, 4)));
  }
}

TEST_P(GenerateTest, AStoppedRunGoesOnAsIfItHadNot) {
  const PackedModel model = random_packed(config());
  const Condition condition = tests::tiny_condition(model.model.config, 10);
  const Condition none = unconditional_of(model.model.config);
  const GenerateOptions options = usual_options();
  const Generated whole = generate(model, condition, none, numbers(0, 10), options);
  for (const int64_t last : {8, 100, 240, 250, 299}) {  // 8 pictures in the first group, then 2
    const auto stop = [last](int64_t done, const at::Tensor&) { return done < last; };
    const Generated part = generate(model, condition, none, numbers(0, 10), options, {}, stop);
    EXPECT_EQ(part.tokens.lt(0).any().item<bool>(), last < 299);
    const at::Tensor drawn = part.tokens.ge(0);
    EXPECT_TRUE(at::equal(part.tokens.masked_select(drawn), whole.tokens.masked_select(drawn)));
    const Generated rest = generate(model, condition, none, numbers(0, 10), options, part.tokens);
    EXPECT_TRUE(at::equal(rest.tokens, whole.tokens)) << last;
    EXPECT_TRUE(
        at::equal(rest.log_probabilities.add(part.log_probabilities), whole.log_probabilities));
  }
}

TEST_P(GenerateTest, GivenTokensAreKeptAndSeen) {
  const PackedModel model = random_packed(config());
  const Condition condition = tests::tiny_condition(model.model.config, 3);
  const Condition none = unconditional_of(model.model.config);
  const GenerateOptions options = usual_options();
  // A mask with holes, other ones for each picture; picture 2 is given whole.
  const at::Tensor known = tests::tiny_tokens(model.model.config, 3);
  at::Tensor keep = tests::random_uniform(3, {3, 30}).lt(0.5);
  keep[0].slice(0, 8, 20).fill_(true);
  keep[1].slice(0, 4, 17).fill_(true);
  keep[2].fill_(true);
  const at::Tensor given = at::where(keep, known, at::full({}, -1, at::kLong));
  const Generated edited = generate(model, condition, none, numbers(0, 3), options, given);
  EXPECT_TRUE(at::equal(edited.tokens.masked_select(keep), known.masked_select(keep)));
  EXPECT_GE(edited.tokens.min().item<int64_t>(), 0);
  EXPECT_TRUE(edited.log_probabilities.masked_select(keep).eq(0).all().item<bool>());
  EXPECT_TRUE(edited.log_probabilities.masked_select(keep.logical_not()).lt(0).all().item<bool>());
  // Drawn tokens are what the same random numbers draw where all before them is given.
  for (int64_t row = 0; row < 2; ++row) {
    const at::Tensor before = edited.tokens.slice(0, row, row + 1).clone();
    before.slice(1, 21).fill_(-1);
    const Generated again =
        generate(model, rows_of(condition, row, 1), none, numbers(row, 1), options,
                 at::where(keep.slice(0, row, row + 1), known.slice(0, row, row + 1), before));
    EXPECT_TRUE(at::equal(again.tokens, edited.tokens.slice(0, row, row + 1)));
  }
}

TEST_P(GenerateTest, GuidanceOfOneIsNone) {
  const PackedModel model = random_packed(config());
  const Condition condition = tests::tiny_condition(model.model.config, 3);
  GenerateOptions options = usual_options();
  options.guidance = 1.0;
  const Generated plain = generate(model, condition, {}, numbers(0, 3), options);
  const Generated one =
      generate(model, condition, unconditional_of(model.model.config), numbers(0, 3), options);
  EXPECT_TRUE(equal(plain, one));
  options.schedule = "cosine";
  EXPECT_TRUE(equal(plain, generate(model, condition, {}, numbers(0, 3), options)));
  options.guidance = 4.0;  // the first token's is 1
  const Generated cosine =
      generate(model, condition, unconditional_of(model.model.config), numbers(0, 3), options);
  EXPECT_TRUE(at::equal(cosine.tokens.select(1, 0), plain.tokens.select(1, 0)));
  EXPECT_FALSE(at::equal(cosine.tokens, plain.tokens));
}

TEST_P(GenerateTest, ThreadsDoNotMatter) {
  const PackedModel model = random_packed(config());
  const Condition condition = tests::tiny_condition(model.model.config, 3);
  const Condition none = unconditional_of(model.model.config);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Generated one = generate(model, condition, none, numbers(0, 3), usual_options());
  at::set_num_threads(2);
  EXPECT_TRUE(equal(generate(model, condition, none, numbers(0, 3), usual_options()), one));
  at::set_num_threads(threads);
}

TEST_P(GenerateTest, LogProbabilitiesAreTheModels) {
  const Model model = random_model(config());
  const Condition condition = tests::tiny_condition(model.config, 4);
  GenerateOptions options;
  options.cache = at::kFloat;
  const Generated drawn =
      generate(pack(model, WeightFormat::kFloat32), condition, {}, numbers(0, 4), options);
  const at::Tensor wanted = token_log_likelihoods(model, condition, drawn.tokens);
  EXPECT_LT(drawn.log_probabilities.sub(wanted).abs().max().item<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, GenerateTest, testing::Values("Parti", "Vim"),
                         [](const auto& each) { return each.param; });

TEST(Generate, TheCallbackSeesEachToken) {
  const PackedModel model = random_packed(tests::tiny_vim());
  const Condition condition = tests::tiny_condition(model.model.config, 18);
  GenerateOptions options;
  int64_t calls = 0, last = 0;
  generate(model, condition, {}, numbers(0, 18), options, {},
           [&](int64_t done, const at::Tensor& tokens) {
             EXPECT_EQ(tokens.ge(0).sum().item<int64_t>(), done);
             EXPECT_GT(done, last);
             last = done;
             ++calls;
             return true;
           });
  EXPECT_EQ(last, 18 * 30);
  EXPECT_EQ(calls, 60);  // two groups
}

TEST(Generate, NoPicturesAreNoWork) {
  const PackedModel model = random_packed(tests::tiny_vim());
  const Condition condition = tests::tiny_condition(model.model.config, 0);
  EXPECT_EQ(generate(model, condition, {}, numbers(0, 0), {}).tokens.sizes(),
            (std::vector<int64_t>{0, 30}));
}

TEST(Generate, TheCosineScheduleRisesFromOne) {
  GenerateOptions options;
  options.guidance = 3.0;
  EXPECT_EQ(guidance_at(options, 0, 256), 3.0);
  EXPECT_EQ(guidance_at(options, 255, 256), 3.0);
  options.schedule = "cosine";
  EXPECT_EQ(guidance_at(options, 0, 256), 1.0);
  EXPECT_EQ(guidance_at(options, 255, 256), 3.0);
  EXPECT_NEAR(guidance_at(options, 1, 3), 2.0, 1e-12);
  EXPECT_NEAR(guidance_at(options, 1, 4), 1.5, 1e-12);
  for (int64_t p = 1; p < 256; ++p) {
    EXPECT_GT(guidance_at(options, p, 256), guidance_at(options, p - 1, 256));
  }
}

/// A model whose logits are the same at every place, whatever came before: those of the softmax's bias.
PackedModel known_distribution(const at::Tensor& bias) {
  Config config = tests::tiny_vim();
  config.codebook_size = bias.size(0);
  Model model = make_model(config, 1, at::kCPU);
  model.softmax.weight.zero_();
  model.softmax.bias.copy_(bias);
  return pack(model, WeightFormat::kFloat32);
}

// 6000 draws of 8 outcomes: chi-square of 7 degrees of freedom, 29.9 is passed by one in 10,000 seeds.
TEST(Generate, DrawsByTheModelsProbabilities) {
  const at::Tensor bias = tests::random_tensor(4, {8});
  const PackedModel model = known_distribution(bias);
  Condition condition;
  condition.classes = at::zeros({200}, at::kLong);
  for (const double temperature : {1.0, 0.5}) {
    GenerateOptions options;
    options.temperature = temperature;
    options.seed = 3;
    const at::Tensor tokens = generate(model, condition, {}, numbers(0, 200), options).tokens;
    const at::Tensor wanted = at::log_softmax(bias.to(at::kDouble).div(temperature), 0).exp();
    double chi_square = 0.0;
    for (int64_t code = 0; code < 8; ++code) {
      const double expected = 6000 * wanted[code].item<double>();
      const auto seen = static_cast<double>(tokens.eq(code).sum().item<int64_t>());
      chi_square += (seen - expected) * (seen - expected) / expected;
    }
    EXPECT_LT(chi_square, 29.9) << "temperature " << temperature;
    // Neighbours are independent: how often two in a row are equal, within 5 deviations.
    const double equal = wanted.square().sum().item<double>(), pairs = 200 * 29;
    const auto seen =
        static_cast<double>(tokens.slice(1, 1).eq(tokens.slice(1, 0, 29)).sum().item<int64_t>());
    EXPECT_LT(std::abs(seen - pairs * equal), 5 * std::sqrt(pairs * equal)) << temperature;
  }
}

TEST(Generate, NamesTheTokenThatCannotBeDrawn) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Config config = tests::tiny_vim();
  Condition condition;
  condition.classes = at::zeros({3}, at::kLong);
  const auto expect_bad = [&](const std::string& message, const Model& model) {
    expect_error(ErrorKind::kBadData, message, [&] {
      generate(pack(model, WeightFormat::kInt8), condition, {}, numbers(7, 3), {});
    });
  };
  Model all = make_model(config, 1, at::kCPU);
  all.decoder_norm.weight[2] = nan;
  expect_bad("token 0 of picture 7 are not finite", all);
  Model one = make_model(config, 1, at::kCPU);  // a single logit
  one.softmax.bias[28] = std::numeric_limits<float>::infinity();
  expect_bad("token 0 of picture 7 are not finite", one);
  Model late = make_model(config, 1, at::kCPU);
  late.column_positions[5][1] = nan;
  expect_bad("token 5 of picture 7 are not finite", late);
  // The callback never sees the end of a row of tokens with such a one in it, and a run that it stops after it fails too.
  Model middle = make_model(config, 1, at::kCPU);
  middle.column_positions[3][1] = nan;
  const PackedModel packed = pack(middle, WeightFormat::kInt8);
  for (const int64_t stop_after : {3, 4, 30}) {
    int64_t most = 0;
    const auto draw = [&] {
      generate(packed, condition, {}, numbers(7, 3), {}, {}, [&](int64_t done, const at::Tensor&) {
        most = done / 3;
        return most < stop_after;
      });
    };
    if (stop_after == 3) {
      EXPECT_NO_THROW(draw());
    } else {
      expect_error(ErrorKind::kBadData, "token 3 of picture 7 are not finite", draw);
    }
    EXPECT_EQ(most, std::min<int64_t>(stop_after, 5));
  }
  Model class_of_one = make_model(config, 1, at::kCPU);
  class_of_one.start[1][0] = nan;
  condition.classes[2] = 1;
  expect_bad("token 0 of picture 9 are not finite", class_of_one);
  Condition none;  // the same row of the model, now for guidance
  none.classes = at::full({1}, 1, at::kLong);
  condition.classes.zero_();
  expect_error(ErrorKind::kBadData, "token 0 of picture 7 are not finite", [&] {
    generate(pack(class_of_one, WeightFormat::kInt8), condition, none, numbers(7, 3),
             {.guidance = 2.0});
  });
}

TEST(Generate, RejectsWhatCannotBe) {
  const PackedModel model = random_packed(tests::tiny_parti());
  const Config& config = model.model.config;
  const Condition condition = tests::tiny_condition(config, 2);
  const Condition none = unconditional_of(config);
  const auto expect_bad = [&](const std::string& message, const GenerateOptions& options,
                              const at::Tensor& given = {}) {
    expect_error(ErrorKind::kUsage, message,
                 [&] { generate(model, condition, none, numbers(0, 2), options, given); });
  };
  expect_bad("got nan", {.guidance = std::nan("")});
  expect_bad("guidance >= 0, got -1", {.guidance = -1});
  expect_bad("constant or cosine, got linear", {.schedule = "linear"});
  expect_bad("temperature >= 0, got -0.5", {.temperature = -0.5});
  expect_bad("0..29, got 30", {.top_k = 30});
  expect_bad("(0, 1], got 2", {.top_p = 2});
  expect_bad("(0, 1], got 0", {.top_p = 0});
  expect_bad("got Double", {.cache = at::kDouble});
  const at::Tensor tokens = tests::tiny_tokens(config, 2);
  expect_bad("got Long [2, 29]", {}, tokens.slice(1, 1));
  expect_bad("-1..28, got 29", {}, at::full({2, 30}, 29, at::kLong));
  expect_bad("-1..28, got -2", {}, at::full({2, 30}, -2, at::kLong));
  expect_error(ErrorKind::kUsage, "text of 3 rows",
               [&] { generate(model, condition, none, numbers(0, 3), {}); });
  expect_error(ErrorKind::kUsage, "expected text in the unconditional",
               [&] { generate(model, condition, {}, numbers(0, 2), {.guidance = 2.0}); });
  expect_error(ErrorKind::kUsage, "numbers of pictures",
               [&] { generate(model, condition, none, numbers(0, 2).to(at::kFloat), {}); });
}

}  // namespace
}  // namespace lexel::ar
