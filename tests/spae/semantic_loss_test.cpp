#include "spae/semantic_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_unique2.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <cmath>
#include <gtest/gtest.h>

#include "spae/lexical_codebook.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::spae {
namespace {

using tests::expect_error;
using tests::random_tensor;

at::Tensor row(std::vector<float> values) { return at::tensor(values).unsqueeze(0); }
at::Tensor ids(std::vector<int64_t> values) { return at::tensor(values, at::kLong); }

TEST(WordTargets, AreTheBestWordsScaledByThePicture) {
  const WordTargets targets = word_targets(row({-1, 3, 1, 2}), {}, 3);
  EXPECT_TRUE(at::equal(targets.ids, ids({1, 3, 2}).unsqueeze(0)));
  EXPECT_TRUE(at::allclose(targets.scores, row({1.0F, 0.75F, 0.5F})));
}

TEST(WordTargets, WordsOfTheCaptionComeFirstInTheirOrder) {
  const WordTargets targets =
      word_targets(row({0, 1, 0.9F, 0.2F, 0.1F}), {{.names = {4, 3}, .others = {0, 3}}}, 5);
  EXPECT_TRUE(at::equal(targets.ids, ids({4, 3, 0, 1, 2}).unsqueeze(0)));
  EXPECT_TRUE(at::allclose(targets.scores, row({1, 1, 0.95F, 0.95F, 0.9F})));
}

TEST(WordTargets, ARowOfEqualScoresIsNoReasonToFail) {
  const WordTargets targets = word_targets(row({2, 2, 2}), {}, 2);
  EXPECT_TRUE(at::equal(targets.scores, row({0, 0})));
}

TEST(WordTargets, RejectsWhatCannotBe) {
  expect_error(ErrorKind::kUsage, "count of 1 to 2", [] { word_targets(row({1, 2}), {}, 3); });
  expect_error(ErrorKind::kUsage, "words of 1 pictures, got 2", [] {
    word_targets(row({1, 2}), {{}, {}}, 1);
  });
  expect_error(ErrorKind::kUsage, "words below 2, got 2", [] {
    word_targets(row({1, 2}), {{.names = {2}, .others = {}}}, 1);
  });
}

TEST(DrawTargets, UpperTokensGetTheWordsInOrder) {
  const Pyramid pyramid = make_pyramid({1, 2, 4});
  const WordTargets targets{ids({10, 11, 12, 13, 14, 15}).unsqueeze(0),
                            row({1, 0.9F, 0.8F, 0.7F, 0.6F, 0.5F})};
  Philox random(1);
  EXPECT_TRUE(
      at::equal(draw_targets(targets, pyramid, 0, 2, 0.98, random), ids({10}).unsqueeze(0)));
  EXPECT_TRUE(at::equal(draw_targets(targets, pyramid, 1, 2, 0.95, random),
                        ids({11, 12, 13, 14}).unsqueeze(0)));
}

TEST(DrawTargets, LowerTokensDrawFromThePoolAlone) {
  const Pyramid pyramid = make_pyramid({1, 2, 4, 8});
  const WordTargets targets{ids({10, 11, 12, 13}).unsqueeze(0), row({1, 0.95F, 0.9F, 0.5F})};
  Philox random(1);
  const at::Tensor drawn = draw_targets(targets, pyramid, 3, 2, 0.9, random);
  EXPECT_EQ(drawn.sizes(), at::IntArrayRef({1, 64}));
  for (const int64_t word : {10, 11, 12})
    EXPECT_GT(drawn.eq(word).sum().item<int64_t>(), 5) << word;
  EXPECT_EQ(drawn.eq(13).sum().item<int64_t>(), 0);
  // A pool that holds nothing still has the best word.
  EXPECT_TRUE(draw_targets({targets.ids, row({0.5F, 0.4F, 0.3F, 0.2F})}, pyramid, 3, 0, 0.9, random)
                  .eq(10)
                  .all()
                  .item<bool>());
}

TEST(WordCrossEntropy, IsTheSoftmaxOfProductsByHand) {
  const at::Tensor codes = at::eye(2);
  const at::Tensor queries = at::tensor({1.0F, 0.0F}).reshape({1, 1, 2});
  const double loss =
      word_cross_entropy(queries, codes, at::zeros({1, 1}, at::kLong), 3.0).item<double>();
  EXPECT_NEAR(loss, std::log(1 + std::exp(-3.0)), 1e-6);
}

TEST(WordCrossEntropy, EqualsThePapersDistancesForUnitVectors) {
  const at::Tensor codes = unit_rows(random_tensor(1, {50, 8}));
  const at::Tensor z = unit_rows(random_tensor(2, {6, 8})).reshape({2, 3, 8});
  const at::Tensor wanted = ids({3, 1, 4, 1, 5, 9}).reshape({2, 3});
  const at::Tensor distance = (z.unsqueeze(2) - codes).square().sum(3).neg();
  const at::Tensor paper =
      at::log_softmax(distance, -1).gather(2, wanted.unsqueeze(2)).mean().neg();
  EXPECT_NEAR(word_cross_entropy(z, codes, wanted, 2.0).item<double>(), paper.item<double>(), 1e-5);
}

TEST(Entropy, IsLowWhereSureQueriesUseManyWordsAndHighWhereTheyShareOne) {
  const at::Tensor codes = at::eye(16);
  const double many = entropy_term(codes, codes, 50.0).item<double>();
  const double one =
      entropy_term(codes.narrow(0, 0, 1).expand({16, 16}), codes, 50.0).item<double>();
  EXPECT_NEAR(many, -std::log(16.0), 1e-4);
  EXPECT_NEAR(one, 0.0, 1e-4);
}

TEST(Entropy, ItsGradientSpreadsACollapsedBatch) {
  const at::Tensor codes = unit_rows(random_tensor(1, {64, 8}));
  at::Tensor z = (random_tensor(2, {128, 8}) * 0.05 + codes.select(0, 0)).requires_grad_();
  const auto used = [&] {
    return std::get<0>(at::_unique2(at::matmul(z.detach(), codes.t()).argmax(1))).numel();
  };
  const int64_t before = used();
  for (int i = 0; i < 60; ++i) {
    entropy_term(unit_rows(z), codes, 20.0).backward();
    z = (z.detach() - z.grad() * 20.0).requires_grad_();
  }
  EXPECT_GT(used(), 3 * before);
}

TEST(LayerCommitment, CountsVisitedPositionsAlone) {
  const Pyramid pyramid = make_pyramid({1, 2});
  const at::Tensor latents = at::full({1, 4, 3}, 1.0F).requires_grad_();
  // Layer 1 visits one position, layer 2 all four; every result is zero.
  std::vector<LayerChoice> choices(2);
  for (LayerChoice& choice : choices) choice.result = at::zeros({1, 4, 3});
  const at::Tensor loss = layer_commitment(pyramid, latents, choices);
  EXPECT_FLOAT_EQ(loss.item<float>(), 3.0F);
  loss.backward();
  const auto seen = static_cast<size_t>(pyramid.positions[0][0]);
  for (size_t p = 0; p < 4; ++p)
    EXPECT_NEAR(latents.grad()[0][static_cast<int64_t>(p)][0].item<float>(),
                0.5 * 2 / 4.0 + (p == seen ? 0.5 * 2 : 0.0), 1e-6);
}

TEST(LeCam, IsZeroWhileScoresLieOnTheOtherSideOfTheMeans) {
  const at::Tensor zero = at::zeros({}), one = at::full({}, 1.0F);
  EXPECT_EQ(lecam_loss(at::tensor({-1.0F}), at::tensor({2.0F}), one, zero).item<float>(), 0.0F);
  // relu(2 - 0)^2 + relu(1 - -1)^2
  EXPECT_EQ(lecam_loss(at::tensor({2.0F}), at::tensor({-1.0F}), one, zero).item<float>(), 8.0F);
}

}  // namespace
}  // namespace lexel::spae
