#include "autoregressive/scorer_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>

#include "tests/autoregressive/tiny_scorer.h"
#include "tests/support/expect_error.h"

namespace lexel::ar {
namespace {

using tests::captions;
using tests::english;
using tests::expect_error;
using tests::pictures;

TEST(ScorerModel, AGradientReachesEveryParameter) {
  ScorerModel model = make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  const ParameterList list = parameters(model);
  require_gradients(list, true);
  const EncodedCaptions text = encode_captions(*english(), captions(6), 24);
  const auto loss = contrastive_loss(embed_pictures(model, pictures(6)),
                                     embed_texts(model, text.ids, text.lengths), model.log_scale);
  loss.backward();
  for (const Parameter& parameter : list) {
    ASSERT_TRUE(parameter.tensor->grad().defined()) << parameter.name;
    EXPECT_GT(parameter.tensor->grad().abs().max().item<float>(), 0.0f) << parameter.name;
  }
}

TEST(ScorerModel, TheShippedSizeIsSmall) {
  ScorerConfig config;
  config.text_vocabulary = 1000;
  ScorerModel layout = scorer_layout(config);
  EXPECT_LT(parameter_count(parameters(layout)), 1'400'000);
}

TEST(ScorerModel, EmbeddingsHaveLengthOneInBothDtypes) {
  const ScorerModel model = make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  const EncodedCaptions text = encode_captions(*english(), captions(3), 24);
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    for (const at::Tensor& rows : {embed_pictures(model, pictures(3), compute),
                                   embed_texts(model, text.ids, text.lengths, compute)}) {
      EXPECT_EQ(rows.scalar_type(), at::kFloat);
      EXPECT_LT(rows.norm(2, {1}).sub(1.0).abs().max().item<float>(), 1e-5f);
    }
  }
}

TEST(ScorerModel, PaddingDoesNotShow) {
  const ScorerModel model = make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  const EncodedCaptions narrow = encode_captions(*english(), {"a red fish"}, 8);
  EncodedCaptions wide = encode_captions(*english(), {"a red fish"}, 24);
  wide.ids.narrow(1, wide.lengths.item<int64_t>(), 4).fill_(7);
  EXPECT_LT(embed_texts(model, narrow.ids, narrow.lengths)
                .sub(embed_texts(model, wide.ids, wide.lengths))
                .abs()
                .max()
                .item<float>(),
            1e-5f);
}

TEST(ContrastiveLoss, HandMadeNumbers) {
  // Scale 1 / 0.07; two pairs at right angles, so that logits are s on the diagonal and 0 elsewhere.
  const at::Tensor rows = at::eye(2, at::kFloat), zero = at::zeros({1});
  const double s = 1.0 / 0.07;
  const double pair = std::log(1.0 + std::exp(-s));
  EXPECT_NEAR(contrastive_loss(rows, rows, zero).item<double>(), pair, 1e-6);
  // The caption of picture 1 as a hard negative too: it costs picture 1 ln 2, and the captions nothing.
  const at::Tensor three = rows.repeat({2, 1}).narrow(0, 0, 3);
  const double hard = std::log(2.0 + std::exp(-s));
  const double other = std::log(1.0 + 2.0 * std::exp(-s));
  EXPECT_NEAR(contrastive_loss(rows, three, zero).item<double>(),
              0.5 * ((hard + other) / 2.0 + pair), 1e-5);
  // ... unless the pair is ignored.
  at::Tensor ignored = at::zeros({2, 3}, at::kBool);
  ignored[0][2] = true;
  EXPECT_NEAR(contrastive_loss(rows, three, zero, ignored).item<double>(),
              0.5 * ((pair + other) / 2.0 + pair), 1e-5);
}

TEST(ContrastiveLoss, RefusesFewerCaptionsThanPictures) {
  expect_error(ErrorKind::kUsage, "at least as many captions", [] {
    contrastive_loss(at::zeros({3, 4}), at::zeros({2, 4}), at::zeros({1}));
  });
}

TEST(ContrastiveLoss, TheScaleIsLearntUpToAHundred) {
  const at::Tensor rows = at::eye(2, at::kFloat);
  const at::Tensor large = at::full({1}, std::log(0.07 * 50.0)).requires_grad_();
  const at::Tensor loss = contrastive_loss(rows.neg(), rows, large);  // each pair is opposite
  EXPECT_NEAR(loss.item<double>(), 50.0, 1e-3);
  loss.backward();
  EXPECT_NEAR(large.grad().item<double>(), 50.0, 1e-3);
  const at::Tensor beyond = at::full({1}, std::log(0.07 * 300.0)).requires_grad_();
  contrastive_loss(rows.neg(), rows, beyond).backward();
  EXPECT_NEAR(contrastive_loss(rows.neg(), rows, beyond).item<double>(), 100.0, 1e-2);
  EXPECT_EQ(beyond.grad().item<double>(), 0.0);
}

TEST(ScorerModel, TheSeedAloneMakesTheModel) {
  ScorerModel one = make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  ScorerModel same = make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  ScorerModel other = make_scorer(tests::tiny_scorer(), 4, at::kCPU);
  EXPECT_TRUE(at::equal(one.text_embedding, same.text_embedding));
  EXPECT_FALSE(at::equal(one.text_embedding, other.text_embedding));
  EXPECT_TRUE(at::equal(embed_pictures(one, pictures(2)), embed_pictures(same, pictures(2))));
}

TEST(ScorerModel, WherePicturesAndWordsStandCounts) {
  const ScorerModel model = make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  const at::Tensor two = pictures(4);  // one colour, at the first and at the second place
  EXPECT_FALSE(at::allclose(embed_pictures(model, two.narrow(0, 0, 1)),
                            embed_pictures(model, two.narrow(0, 3, 1))));
  const EncodedCaptions text =
      encode_captions(*english(), {"red above blue", "blue above red"}, 24);
  const at::Tensor rows = embed_texts(model, text.ids, text.lengths);
  EXPECT_FALSE(at::allclose(rows[0], rows[1]));
}

TEST(ScorerModel, SaysWhatCannotBe) {
  const ScorerModel model = make_scorer(tests::tiny_scorer(), 3, at::kCPU);
  const int64_t vocabulary = model.config.text_vocabulary;
  const at::Tensor ids = at::ones({1, 4}, at::kLong), length = at::full({1}, 4, at::kLong);
  expect_error(ErrorKind::kUsage, "embed_pictures: expected (B, 3, 32, 32) float32", [&] {
    embed_pictures(model, at::zeros({1, 3, 16, 16}));
  });
  expect_error(ErrorKind::kUsage, "embed_texts: expected (B, 1..24) int64 ids, got Long of shape",
               [&] {
                 embed_texts(model, at::ones({1, 25}, at::kLong), length);
               });
  expect_error(ErrorKind::kUsage, "expected lengths in 1 to 4, got 5 to 5",
               [&] { embed_texts(model, ids, length + 1); });
  expect_error(ErrorKind::kUsage, "expected (1) int64 lengths",
               [&] { embed_texts(model, ids, at::ones({2}, at::kLong)); });
  expect_error(ErrorKind::kBadData, concat("expected ids in 0 to ", vocabulary - 1, ", got "), [&] {
    embed_texts(model, at::full({1, 4}, vocabulary, at::kLong), length);
  });
  expect_error(ErrorKind::kUsage, "expected ignored pairs [2, 2] bool", [] {
    contrastive_loss(at::eye(2), at::eye(2), at::zeros({1}), at::zeros({2, 3}, at::kBool));
  });
  const auto refused = [](const std::string& words, auto change) {
    ScorerConfig config = tests::tiny_scorer();
    change(config);
    expect_error(ErrorKind::kUsage, words, [&] { scorer_layout(config); });
  };
  refused("image_size: expected a multiple of 16, got 40",
          [](ScorerConfig& c) { c.image_size = 40; });
  refused("width: expected a multiple of 4, got 30", [](ScorerConfig& c) { c.width = 30; });
  refused("picture_depth: expected 1 to 256, got 0", [](ScorerConfig& c) { c.picture_depth = 0; });
  refused("space: expected 1 to 65536, got 0", [](ScorerConfig& c) { c.space = 0; });
}

}  // namespace
}  // namespace lexel::ar
