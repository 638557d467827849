#include "autoregressive/model.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "tests/autoregressive/tiny_model.h"
#include "tests/support/expect_error.h"
#include "tests/support/finite_difference.h"

namespace lexel::ar {
namespace {

using tests::expect_error;
using tests::fill_zeros;
using tests::relative_difference;
using tests::tiny_condition;
using tests::tiny_parti;
using tests::tiny_tokens;
using tests::tiny_vim;

struct Case {
  const char* name;
  Config config;
};

std::vector<Case> cases() {
  Config relu = tiny_parti();
  relu.activation = "relu";
  relu.conv_layers = "all";
  Config unconditional = tiny_vim();
  unconditional.classes = 0;
  unconditional.attention_output = true;
  return {{"Parti", tiny_parti()},
          {"PartiReluConv", relu},
          {"Vim", tiny_vim()},
          {"Unconditional", unconditional}};
}

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class ModelTest : public testing::TestWithParam<Case> {
 protected:
  const Config& config() const { return GetParam().config; }
  int64_t count() const { return config().grid_height * config().grid_width; }
  Model fresh(uint64_t seed = 1) const {
    Model model = make_model(config(), seed, at::kCPU);
    fill_zeros(model);
    return model;
  }
  Condition condition(int64_t batch, uint64_t seed = 1) const {
    return tiny_condition(config(), batch, seed);
  }
  at::Tensor tokens(int64_t batch) const { return tiny_tokens(config(), batch); }
};

TEST_P(ModelTest, ShapesAndTypes) {
  const Model model = fresh();
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    const ForwardOptions options{.compute = compute};
    const at::Tensor out = logits(model, condition(3), tokens(3), options);
    EXPECT_EQ(out.sizes(), (std::vector<int64_t>{3, count(), config().codebook_size}));
    EXPECT_EQ(out.scalar_type(), at::kFloat);
    EXPECT_EQ(features(model, condition(3), tokens(3), 0, options).sizes(),
              (std::vector<int64_t>{3, count(), config().width}));
    EXPECT_EQ(token_loss(model, condition(3), tokens(3), options).dim(), 0);
    const at::Tensor likelihoods = token_log_likelihoods(model, condition(3), tokens(3), options);
    EXPECT_EQ(likelihoods.sizes(), (std::vector<int64_t>{3, count()}));
    EXPECT_FALSE(likelihoods.requires_grad());
  }
}

TEST_P(ModelTest, ATokenChangesTheLogitsAfterItOnly) {
  const Model model = fresh();
  const at::Tensor before = tokens(1);
  const at::Tensor reference = logits(model, condition(1), before);
  for (int64_t place = 0; place < count(); ++place) {
    at::Tensor changed = before.clone();
    changed[0][place] = (before[0][place].item<int64_t>() + 1) % config().codebook_size;
    const at::Tensor difference =
        (logits(model, condition(1), changed) - reference).abs().amax(2)[0];  // (N)
    EXPECT_EQ(difference.narrow(0, 0, place + 1).max().item<float>(), 0.0F) << place;
    if (place + 1 < count()) {
      EXPECT_GT(difference[place + 1].item<float>(), 0.0F) << place;
    }
  }
}

TEST_P(ModelTest, TheConditionChangesEveryLogit) {
  if (config().text_depth == 0 && config().classes == 0) return;  // nothing to change
  const Model model = fresh();
  Condition one = condition(1, 3), other = condition(1, 3);
  if (config().text_depth > 0) {
    other.text[0][0] = (one.text[0][0].item<int64_t>() + 1) % config().text_vocabulary;
  } else {
    other.classes[0] = (one.classes[0].item<int64_t>() + 1) % (config().classes + 1);
  }
  const at::Tensor difference =
      (logits(model, one, tokens(1)) - logits(model, other, tokens(1))).abs().amax(2)[0];
  EXPECT_GT(difference.min().item<float>(), 0.0F);
}

TEST_P(ModelTest, GradientReachesEveryParameter) {
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    Model model = fresh();
    const ParameterList list = parameters(model);
    require_gradients(list, true);
    // Every piece, position and class has a part.
    Condition all = condition(40);
    if (config().text_depth > 0) {
      all.text = at::arange(40 * config().max_text_tokens).remainder(40).reshape({40, -1});
      all.lengths = at::full({40}, config().max_text_tokens, at::kLong);
    }
    token_loss(model, all, tokens(40), {.compute = compute}).backward();
    for (const Parameter& p : list) {
      ASSERT_TRUE(p.tensor->grad().defined()) << p.name;
      EXPECT_TRUE(p.tensor->grad().isfinite().all().item<bool>()) << p.name;
      // Row by row where rows are things of their own; a bias of keys moves no softmax.
      const bool rows = p.group == "embedding";
      const at::Tensor size = rows ? p.tensor->grad().abs().amax(1) : p.tensor->grad().abs().max();
      EXPECT_GT(size.min().item<double>(), 0.0) << p.name;
    }
  }
}

TEST_P(ModelTest, GradientsEqualFiniteDifferences) {
  Model model = fresh();
  tests::to_double(model);
  const ForwardOptions options{.compute = at::kDouble};
  const Condition given = condition(2);
  const at::Tensor ids = tokens(2);
  for (const Parameter& p : parameters(model)) {
    // Along one random direction a parameter, which a wrong gradient cannot hide from.
    const at::Tensor direction = tests::random_tensor(fnv1a(p.name), p.shape).to(at::kDouble);
    const at::Tensor value = p.tensor->clone();
    const auto loss = [&](const at::Tensor& t) {
      *p.tensor = value + direction * t;
      return token_loss(model, given, ids, options);
    };
    EXPECT_LT(tests::gradient_error(loss, at::zeros({}, at::kDouble)), 1e-4) << p.name;
    *p.tensor = value;
  }
}

TEST_P(ModelTest, LossAndLikelihoodsAreThoseOfTheLogits) {
  const Model model = fresh();
  const at::Tensor ids = tokens(3);
  const at::Tensor expected =
      at::log_softmax(logits(model, condition(3), ids), 2).gather(2, ids.unsqueeze(2)).squeeze(2);
  const at::Tensor found = token_log_likelihoods(model, condition(3), ids);
  EXPECT_LT(relative_difference(found, expected), 1e-5);
  EXPECT_LT(relative_difference(token_loss(model, condition(3), ids), -expected.mean()), 1e-5);
}

TEST_P(ModelTest, RematerialisedEqualsPlainBitForBit) {
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    Model model = fresh();
    const ParameterList list = parameters(model);
    require_gradients(list, true);
    ForwardOptions options{.compute = compute, .dropout = 0.2, .seed = 5, .step = 3};
    const auto run = [&] {
      const at::Tensor loss = token_loss(model, condition(2), tokens(2), options);
      loss.backward();
      std::vector<at::Tensor> values{loss.detach()};
      for (const Parameter& p : list) {
        values.push_back(p.tensor->grad().clone());
        p.tensor->mutable_grad().reset();
      }
      return values;
    };
    const auto plain = run();
    options.rematerialize = true;
    const auto again = run();
    EXPECT_TRUE(again[0].equal(plain[0]));
    for (size_t i = 0; i < list.size(); ++i) {
      EXPECT_TRUE(again[i + 1].equal(plain[i + 1])) << list[i].name;
    }
  }
}

TEST_P(ModelTest, BFloat16IsCloseToFloat32) {
  const Model model = fresh();
  const at::Tensor exact = logits(model, condition(3), tokens(3));
  const at::Tensor rounded = logits(model, condition(3), tokens(3), {.compute = at::kBFloat16});
  EXPECT_GT(relative_difference(rounded, exact), 0.0);
  EXPECT_LT(relative_difference(rounded, exact), 0.03);
}

TEST_P(ModelTest, Float32IsCloseToFloat64) {
  Model model = fresh();
  const at::Tensor single = logits(model, condition(3), tokens(3));
  tests::to_double(model);
  const at::Tensor exact = logits(model, condition(3), tokens(3), {.compute = at::kDouble});
  EXPECT_EQ(exact.scalar_type(), at::kDouble);
  EXPECT_LT(relative_difference(single, exact), 1e-5);
}

TEST_P(ModelTest, DropoutDependsOnSeedAndStepOnly) {
  const Model model = fresh();
  const auto loss = [&](uint64_t seed, int64_t step) {
    return token_loss(model, condition(2), tokens(2), {.dropout = 0.3, .seed = seed, .step = step});
  };
  EXPECT_TRUE(loss(1, 2).equal(loss(1, 2)));
  EXPECT_FALSE(loss(1, 2).equal(loss(1, 3)));
  EXPECT_FALSE(loss(1, 2).equal(loss(2, 2)));
  EXPECT_FALSE(loss(1, 2).equal(token_loss(model, condition(2), tokens(2))));
}

INSTANTIATE_TEST_SUITE_P(Configs, ModelTest, testing::ValuesIn(cases()), case_name);

TEST(ModelTextTest, PaddingNeverMatters) {
  Model model = make_model(tiny_parti(), 1, at::kCPU);
  Condition condition = tiny_condition(model.config, 4);
  condition.lengths = at::tensor({1, 3, 5, 2}, at::kLong);
  const at::Tensor ids = tiny_tokens(model.config, 4);
  const at::Tensor expected = logits(model, condition, ids);
  Condition other = condition;
  other.text = condition.text.clone();
  for (int64_t row = 0; row < 4; ++row) {
    for (int64_t m = condition.lengths[row].item<int64_t>(); m < 7; ++m)
      other.text[row][m] = 39 - m;
  }
  EXPECT_TRUE(logits(model, other, ids).equal(expected));
  // A row alone, cut to its own length.
  const Condition alone{
      condition.text.narrow(0, 1, 1).narrow(1, 0, 3), condition.lengths.narrow(0, 1, 1), {}};
  EXPECT_LT(
      relative_difference(logits(model, alone, ids.narrow(0, 1, 1)), expected.narrow(0, 1, 1)),
      1e-6);
}

TEST(ModelTextTest, TheEncoderIsBidirectional) {
  const Model model = make_model(tiny_parti(), 1, at::kCPU);
  Condition condition = tiny_condition(model.config, 1);
  condition.lengths = at::tensor({7}, at::kLong);
  const at::Tensor before = encode_text(model, condition);
  condition.text[0][6] = (condition.text[0][6].item<int64_t>() + 1) % 40;
  const at::Tensor difference = (encode_text(model, condition) - before).abs().amax(2);
  EXPECT_GT(difference.min().item<float>(), 0.0F);
}

TEST(ModelPositionsTest, RowsAndColumnsNameThePlaceThatIsDrawnNext) {
  Model model = make_model(tiny_vim(), 1, at::kCPU);
  const Condition condition = tiny_condition(model.config, 1);
  const at::Tensor ids = tiny_tokens(model.config, 1);
  const at::Tensor before = features(model, condition, ids, 0);
  model.row_positions[2] += 1.0;  // places 12 to 17
  const at::Tensor changed = (features(model, condition, ids, 0) - before).abs().amax(2)[0];
  EXPECT_EQ(changed.narrow(0, 0, 12).max().item<float>(), 0.0F);
  EXPECT_GT(changed.narrow(0, 12, 6).min().item<float>(), 0.01F);
}

TEST(StartFromCodesTest, CodesThatAreAlikeBecomeEmbeddingsThatAreAlike) {
  Config config = tiny_parti();
  config.width = 256;
  Model model = make_model(config, 1, at::kCPU);
  const double spread = model.token_embedding.std().item<double>();
  at::Tensor codes = tests::random_tensor(3, {29, 8});
  codes += 10.0;
  codes[5] = codes[4];
  start_from_codes(model, codes, 7);
  const at::Tensor& table = model.token_embedding;
  EXPECT_NEAR(table.std().item<double>(), spread, 0.02 * spread);
  const auto cosine = [](const at::Tensor& t, int64_t i, int64_t j) {
    return (t[i].dot(t[j]) / t[i].norm() / t[j].norm()).item<double>();
  };
  EXPECT_GT(cosine(table, 5, 4), 0.97);
  EXPECT_GT(cosine(model.softmax.weight, 5, 4), 0.97);
  EXPECT_GT(cosine(at::stack({table[7], model.softmax.weight[7]}), 0, 1), 0.97);
  // Whitened: as long in every direction, whatever the codes have in common.
  const at::Tensor lengths = std::get<1>(at::linalg_svd(table, false)).narrow(0, 0, 8);
  EXPECT_LT(lengths.max().item<double>(), 1.5 * lengths.min().item<double>());
  Model again = make_model(config, 1, at::kCPU);
  start_from_codes(again, codes, 7);
  EXPECT_TRUE(again.token_embedding.equal(table));
  start_from_codes(again, codes, 8);
  EXPECT_FALSE(again.token_embedding.equal(table));
  expect_error(ErrorKind::kUsage, "start_from_codes: expected (29, Z) float32 codes, got Float",
               [&] {
                 start_from_codes(model, at::zeros({30, 8}), 7);
               });
}

TEST(ChosenPlacesTest, TheFirstPlacesCostWhatTheyCostAmongAll) {
  Config config = tiny_parti();
  config.conv_layers = "";
  Model model = make_model(config, 1, at::kCPU);
  fill_zeros(model);
  const Condition condition = tiny_condition(config, 2, 1);
  const at::Tensor tokens = tiny_tokens(config, 2);
  const int64_t all = tokens.size(1), some = all / 2;
  const auto loss = [&](const at::Tensor& places) {
    return token_loss(model, condition, tokens, {}, {}, places).item<double>();
  };
  const at::Tensor every = at::arange(all).expand({2, all}).contiguous();
  EXPECT_NEAR(loss(every), token_loss(model, condition, tokens).item<double>(), 1e-5);
  const at::Tensor likelihoods = token_log_likelihoods(model, condition, tokens);
  EXPECT_NEAR(loss(every.narrow(1, 0, some)), -likelihoods.narrow(1, 0, some).mean().item<double>(),
              1e-5);
  // A place alone holds the token before it and its own position, and no other place.
  at::Tensor far = tokens.clone();
  far.narrow(1, 0, all - 2).fill_(0);
  const at::Tensor last = every.narrow(1, all - 1, 1);
  EXPECT_EQ(token_loss(model, condition, far, {}, {}, last).item<double>(), loss(last));
}

TEST(ChosenPlacesTest, PlacesThatCannotBeAreNamed) {
  Config config = tiny_parti();
  config.conv_layers = "";
  const Model model = make_model(config, 1, at::kCPU);
  const auto error = [&](const Model& of, const at::Tensor& places, const char* what) {
    expect_error(ErrorKind::kUsage, what, [&] {
      (void)token_loss(of, tiny_condition(config, 2, 1), tiny_tokens(config, 2), {}, {}, places);
    });
  };
  const at::Tensor good = at::arange(4).expand({2, 4}).contiguous();
  error(model, good.flip(1), "ascending");
  error(model, good + config.grid_height * config.grid_width, "ascending");
  error(model, good.narrow(0, 0, 1), "(2, n) int64");
  error(model, good.to(at::kInt), "(2, n) int64");
  config.conv_layers = "all";
  error(make_model(config, 1, at::kCPU), good, "conv-shaped");
}

TEST(ModelErrorsTest, WrongArgumentsAreNamed) {
  const Model model = make_model(tiny_parti(), 1, at::kCPU);
  const Model vim = make_model(tiny_vim(), 1, at::kCPU);
  const Condition text = tiny_condition(tiny_parti(), 2);
  const at::Tensor ids = tiny_tokens(tiny_parti(), 2);
  const auto usage = ErrorKind::kUsage, bad = ErrorKind::kBadData;
  expect_error(usage, "ar::logits: expected 30 tokens a picture, got 29",
               [&] { logits(model, text, ids.narrow(1, 0, 29)); });
  expect_error(usage, "ar::token_loss: expected tokens (B, N) int64, got Int of shape [2, 30]",
               [&] { token_loss(model, text, ids.to(at::kInt)); });
  expect_error(bad, "expected tokens in 0 to 28, got 29", [&] {
    logits(model, text, at::full({2, 30}, 29, at::kLong));
  });
  expect_error(usage, "expected text (B, m) int64, got none", [&] { logits(model, {}, ids); });
  expect_error(usage, "expected 1 to 7 text tokens, got 8", [&] {
    logits(model, {at::zeros({2, 8}, at::kLong), text.lengths, {}}, ids);
  });
  expect_error(bad, "expected pieces in 0 to 39, got 40", [&] {
    logits(model, {at::full({2, 7}, 40, at::kLong), text.lengths, {}}, ids);
  });
  expect_error(bad, "expected lengths - 1 in 0 to 6, got -1", [&] {
    logits(model, {text.text, at::zeros({2}, at::kLong), {}}, ids);
  });
  expect_error(usage, "expected one condition a picture, got 2 for 3",
               [&] { logits(model, text, tiny_tokens(tiny_parti(), 3)); });
  expect_error(usage, "expected classes (B) int64, got none", [&] { logits(vim, {}, ids); });
  expect_error(bad, "expected classes in 0 to 3, got 4", [&] {
    logits(vim, {{}, {}, at::full({2}, 4, at::kLong)}, ids);
  });
  expect_error(usage, "expected a model with text, got none", [&] { encode_text(vim, text); });
  expect_error(usage, "expected a block in 0 to 1, got 2", [&] { features(model, text, ids, 2); });
  expect_error(usage, "expected compute float32, bfloat16 or float64, got Half",
               [&] { logits(model, text, ids, {.compute = at::kHalf}); });
  expect_error(usage, "expected a dropout of at least 0 and less than 1, got 1",
               [&] { logits(model, text, ids, {.dropout = 1.0}); });
}

}  // namespace
}  // namespace lexel::ar
