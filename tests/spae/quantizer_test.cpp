#include "spae/quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "spae/lexical_codebook.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"

namespace lexel::spae {
namespace {

using tests::expect_error;
using tests::random_tensor;

constexpr QuantizerRule kAverage = QuantizerRule::kStreamingAverage;
constexpr QuantizerRule kResidual = QuantizerRule::kResidual;

at::Tensor unit(uint64_t seed, std::vector<int64_t> shape) {
  return unit_rows(random_tensor(seed, shape));
}

TEST(QuantizerTest, ByHand) {
  // Two layers of one position. z = (0.6, 0.8); words east, north, and 45 degrees.
  const Pyramid pyramid = make_pyramid({1, 1, 1});
  const auto codes = at::tensor({1.F, 0.F, 0.F, 1.F, 0.70710678F, 0.70710678F}).reshape({3, 2});
  const auto z = at::tensor({0.6F, 0.8F}).reshape({1, 1, 2});
  const auto average = quantize(pyramid, kAverage, z, codes, 3);
  EXPECT_EQ(average[0].ids.item<int64_t>(), 2);  // 0.99 against 0.6 and 0.8
  // z_2 = 2 z - e = (0.49, 0.89): 0.98 for the diagonal, 0.89 for north.
  EXPECT_TRUE(
      at::allclose(average[1].queries.flatten(), at::tensor({0.49289F, 0.89289F}), 0, 1e-4));
  EXPECT_EQ(average[1].ids.item<int64_t>(), 2);
  EXPECT_TRUE(at::allclose(average[1].result.flatten(), codes[2], 0, 1e-6));  // their average
  EXPECT_TRUE(
      at::allclose(average[2].queries.flatten(), at::tensor({0.38579F, 0.98579F}), 0, 1e-4));
  EXPECT_EQ(average[2].ids.item<int64_t>(), 1);  // 0.986 for north, 0.970 for the diagonal
  const auto residual = quantize(pyramid, kResidual, z, codes, 2);
  EXPECT_TRUE(
      at::allclose(residual[1].queries.flatten(), at::tensor({-0.10711F, 0.09289F}), 0, 1e-4));
  EXPECT_EQ(residual[1].ids.item<int64_t>(), 1);
  EXPECT_TRUE(at::allclose(residual[1].result.flatten(), codes[2] + codes[1], 0, 1e-6));
}

TEST(QuantizerTest, EachChoiceMinimisesTheErrorOfTheNewAverage) {
  const Pyramid pyramid = make_pyramid({1, 2, 4, 4, 4, 4});
  const auto z = unit(1, {3, 16, 6}), codes = unit(2, {50, 6});
  const auto choices = quantize(pyramid, kAverage, z, codes, 6);
  std::vector<int64_t> visits(16, 0);
  at::Tensor sum = at::zeros_like(z);
  for (size_t layer = 0; layer < 6; ++layer) {
    for (size_t n = 0; n < pyramid.positions[layer].size(); ++n) {
      const int64_t p = pyramid.positions[layer][n];
      for (int64_t b = 0; b < 3; ++b) {
        // All averages that any of the 50 words would give, by their distance from z.
        const auto averages =
            (sum[b][p] + codes) / static_cast<double>(visits[static_cast<size_t>(p)] + 1);
        const auto error = (averages - z[b][p]).square().sum(1);  // (50)
        const int64_t chosen = choices[layer].ids[b][static_cast<int64_t>(n)].item<int64_t>();
        EXPECT_LE(error[chosen].item<float>(), error.min().item<float>() + 1e-6F);
        sum[b][p] += codes[chosen];
        const auto average = sum[b][p] / static_cast<double>(visits[static_cast<size_t>(p)] + 1);
        EXPECT_TRUE(at::allclose(choices[layer].result[b][p], average, 0, 1e-5));
      }
      ++visits[static_cast<size_t>(p)];
    }
  }
}

/// Mean squared error after each layer, on random unit vectors and words.
std::vector<double> errors(QuantizerRule rule, int64_t width) {
  const Pyramid pyramid = make_pyramid({16, 16, 16, 16, 16, 16});
  const auto z = unit(3, {2, 256, width}), codes = unit(4, {500, width});
  std::vector<double> result;
  for (const LayerChoice& choice : quantize(pyramid, rule, z, codes, 6)) {
    result.push_back((choice.result - z).square().sum(2).mean().item<double>());
  }
  return result;
}

TEST(QuantizerTest, WideResidualsDivergeAndStreamingAveragesDoNot) {
  for (const int64_t width : {64, 256}) {
    const std::vector<double> average = errors(kAverage, width),
                              residual = errors(kResidual, width);
    EXPECT_EQ(average.front(), residual.front());
    for (size_t layer = 1; layer < 6; ++layer) {
      EXPECT_LT(average[layer], average[layer - 1]) << width;
      EXPECT_GT(residual[layer], residual.front()) << width;
    }
    EXPECT_LT(average.back(), 0.62 * average.front()) << width;
    EXPECT_GT(residual.back(), 1.1 * residual.front()) << width;
  }
}

TEST(QuantizerTest, NarrowResidualsStayBounded) {
  const std::vector<double> residual = errors(kResidual, 8), average = errors(kAverage, 8);
  EXPECT_LT(residual.back(), 0.6);
  EXPECT_LT(average.back(), residual.back() / 2);
}

TEST(QuantizerTest, IdsGiveTheResultOfTheirLayersBack) {
  const Pyramid pyramid = make_pyramid({1, 2, 4, 4});
  const auto z = unit(5, {2, 16, 8}), codes = unit(6, {40, 8});
  for (const QuantizerRule rule : {kAverage, kResidual}) {
    const auto choices = quantize(pyramid, rule, z, codes, 4);
    const auto ids = ids_of(choices);
    EXPECT_EQ(ids.sizes(), at::IntArrayRef({2, 37}));
    EXPECT_TRUE(at::equal(quantize_ids(pyramid, rule, z, codes, 4), ids));
    for (int64_t layers = 1; layers <= 4; ++layers) {
      EXPECT_TRUE(at::equal(quantize_ids(pyramid, rule, z, codes, layers),
                            ids.narrow(1, 0, pyramid.tokens(layers))));
      const auto result =
          result_of_ids(pyramid, rule, ids.narrow(1, 0, pyramid.tokens(layers)), codes);
      EXPECT_TRUE(at::allclose(result, choices[static_cast<size_t>(layers - 1)].result, 0, 1e-6));
    }
  }
}

TEST(QuantizerTest, QueriesCarryTheirGradientToTheLatents) {
  const Pyramid pyramid = make_pyramid({1, 2, 2});
  auto z = unit(7, {1, 4, 3}).requires_grad_();
  const auto choices = quantize(pyramid, kAverage, z, unit(8, {9, 3}), 3);
  choices[2].queries.sum().backward();
  // Position 3 (row 2, column 2) has been visited twice before, the others once.
  EXPECT_TRUE(at::allclose(z.grad()[0].select(1, 0), at::tensor({2.F, 2.F, 2.F, 3.F})));
  EXPECT_FALSE(choices[2].result.requires_grad());
}

TEST(QuantizerTest, UnvisitedPositionsAreMarkedAndFilled) {
  const Pyramid pyramid = make_pyramid({1, 2, 4, 4});
  EXPECT_EQ(mark_width(pyramid), 4);  // 0 to 3 visits
  const auto results = random_tensor(9, {2, 16, 5});
  const auto zero = decoder_input(pyramid, results, {2, 4}, /*nearest=*/false);
  EXPECT_EQ(zero.sizes(), at::IntArrayRef({2, 16, 9}));
  const std::vector<int64_t> two = pyramid.visits(2), four = pyramid.visits(4),
                             nearest = pyramid.nearest_visited(2);
  const auto filled = decoder_input(pyramid, results, {2, 4}, /*nearest=*/true);
  for (int64_t p = 0; p < 16; ++p) {
    const auto i = static_cast<size_t>(p);
    auto mark = at::zeros({4});
    mark[two[i]] = 1;
    EXPECT_TRUE(at::equal(zero[0][p].narrow(0, 5, 4), mark));
    EXPECT_TRUE(at::equal(filled[0][p].narrow(0, 5, 4), mark));
    EXPECT_TRUE(at::equal(zero[0][p].narrow(0, 0, 5), two[i] > 0 ? results[0][p] : at::zeros({5})));
    EXPECT_TRUE(at::equal(filled[0][p].narrow(0, 0, 5), results[0][nearest[i]]));
    EXPECT_TRUE(at::equal(zero[1][p].narrow(0, 0, 5), results[1][p]));
    EXPECT_EQ(zero[1][p][5 + four[i]].item<float>(), 1.F);
  }
}

TEST(QuantizerTest, NamesAndRefusals) {
  EXPECT_EQ(quantizer_rule("saq"), kAverage);
  EXPECT_EQ(quantizer_rule("rq"), kResidual);
  expect_error(ErrorKind::kUsage, "expected saq or rq, got vq", [] { quantizer_rule("vq"); });
  const Pyramid pyramid = make_pyramid({1, 2});
  const auto codes = unit(1, {9, 3});
  expect_error(ErrorKind::kUsage,
               "expected (B, 4, D) float32 latents, got Float of shape [1, 5, 3]", [&] {
                 quantize(pyramid, kAverage, unit(1, {1, 5, 3}), codes, 2);
               });
  expect_error(ErrorKind::kUsage, "expected (K, 2) float32 codes", [&] {
    quantize(pyramid, kAverage, unit(1, {1, 4, 2}), codes, 2);
  });
  expect_error(ErrorKind::kUsage, "expected 1 to 2 layers, got 3", [&] {
    quantize(pyramid, kAverage, unit(1, {1, 4, 3}), codes, 3);
  });
  expect_error(ErrorKind::kUsage, "expected one number of layers or 2, got 3", [&] {
    decoder_input(pyramid, at::zeros({2, 4, 3}), {1, 1, 1}, false);
  });
}

}  // namespace
}  // namespace lexel::spae
