#include "vqgan/codebook_care.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_unique.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "kernels/codebook_lookup.h"
#include "kernels/philox.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/vqgan/tiny_model.h"
#include "vqgan/patches.h"

namespace lexel::vqgan {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::tiny_config;

/// `per_cluster` rows around each of `clusters` far centres.
at::Tensor clustered_rows(uint64_t seed, int64_t clusters, int64_t per_cluster, int64_t width,
                          double spread) {
  const auto centres = random_tensor(seed, {clusters, 1, width}) * 10;
  return (centres + random_tensor(seed + 1, {clusters, per_cluster, width}) * spread)
      .reshape({-1, width});
}

/// Mean squared distance of rows to their centre.
double distortion(const at::Tensor& rows, const at::Tensor& centres) {
  return kernels::codebook_lookup(rows, centres, kernels::CodeMetric::kL2)
      .score.mean()
      .item<double>();
}

TEST(KMeansTest, FindsSeparateClustersFromAPlusPlusStart) {
  const auto rows = clustered_rows(1, 6, 50, 4, 0.01);
  const KMeans result =
      kmeans(rows, {.clusters = 6, .rounds = 5, .spherical = false, .plus_plus = true});
  EXPECT_TRUE(at::equal(result.counts, at::full({6}, 50, at::kLong)));
  EXPECT_LT(distortion(rows, result.centres), 4 * 1.2e-4);
}

TEST(KMeansTest, MoreRoundsAreNotWorseAndTheSeedDecides) {
  const auto rows = random_tensor(3, {2000, 5});
  double last = INFINITY;
  for (const int64_t rounds : {0, 1, 3, 10}) {
    const auto centres =
        kmeans(rows, {.clusters = 40, .rounds = rounds, .spherical = false}).centres;
    EXPECT_LE(distortion(rows, centres), last) << rounds;
    last = distortion(rows, centres);
  }
  const KMeansOptions options{.clusters = 40, .rounds = 3, .seed = 7};
  const auto unit_rows = rows / at::linalg_vector_norm(rows, 2, at::IntArrayRef{-1}, true);
  const auto centres = kmeans(unit_rows, options).centres;
  EXPECT_TRUE(at::equal(kmeans(unit_rows, options).centres, centres));
  EXPECT_FALSE(
      at::equal(kmeans(unit_rows, {.clusters = 40, .rounds = 3, .seed = 8}).centres, centres));
  const auto lengths = at::linalg_vector_norm(centres, 2, at::IntArrayRef{-1});
  EXPECT_LT((lengths - 1).abs().max().item<double>(), 1e-6);
}

TEST(KMeansTest, EmptyClustersMoveToRows) {
  // 60 equal rows and 4 others: most sampled starts are copies, all but one of which get no row.
  const auto rows = at::cat(at::TensorList{at::zeros({60, 2}), random_tensor(5, {4, 2}) + 50});
  const auto centres = kmeans(rows, {.clusters = 5, .rounds = 60, .spherical = false}).centres;
  EXPECT_EQ(distortion(rows, centres), 0.0);
}

TEST(KMeansTest, RefusesFewerRowsThanClusters) {
  expect_error(ErrorKind::kUsage,
               "kmeans: expected at least as many rows as clusters, got 3 rows for 4", [] {
                 kmeans(at::zeros({3, 2}), {.clusters = 4});
               });
  expect_error(ErrorKind::kUsage, "kmeans: expected (M, D) float32 rows, got Double", [] {
    kmeans(at::zeros({3, 2}, at::kDouble), {.clusters = 2});
  });
  expect_error(ErrorKind::kUsage, "kmeans: expected rounds >= 0, got -1", [] {
    kmeans(at::zeros({3, 2}), {.clusters = 2, .rounds = -1});
  });
}

/// Pictures of smooth waves and one edge, 16 x 16.
at::Tensor pictures_with_structure(int64_t count) {
  const auto pictures = at::empty({count, 3, 16, 16}, at::kFloat);
  for (int64_t k = 0; k < count; ++k) {
    Philox random(11, "pictures", static_cast<uint64_t>(k));
    float* pixel = pictures[k].data_ptr<float>();
    const double u = random.uniform(), v = random.uniform(), edge = random.uniform() * 16;
    for (int channel = 0; channel < 3; ++channel) {
      const double height = 0.3 * random.uniform();
      for (int y = 0; y < 16; ++y) {
        for (int x = 0; x < 16; ++x) {
          *pixel++ = static_cast<float>(0.5 + height * std::sin(u * x + v * y) +
                                        (x > edge ? 0.15 : -0.15));
        }
      }
    }
  }
  return pictures.clamp_(0, 1);
}

double mean_squared_error(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).square().mean().item<double>();
}

TEST(StartFromKMeansTest, AnUntrainedModelIsNearKMeansOfRawPatchesAndFarAboveTheMosaic) {
  Config config = tests::tiny_config_with_options();
  config.codebook_size = 256;
  const auto pictures = pictures_with_structure(200);
  const auto patches = to_patches(pictures, 4);
  const auto rows = patches.reshape({-1, 48});
  Model model = make_model(config, 1, at::kCPU);
  const auto counts = start_from_kmeans(model, rows, 8, 3);
  EXPECT_EQ(counts.sum().item<int64_t>(), rows.size(0));

  const double error = mean_squared_error(decode(model, encode(model, pictures), 4, 4), pictures);
  const auto raw = kmeans(rows, {.clusters = 256, .rounds = 8, .spherical = false, .seed = 3});
  const double floor = distortion(rows, raw.centres) / 48;
  const auto colours = patches.reshape({-1, 3, 16});
  const double mosaic = mean_squared_error(colours.mean(2, true).expand_as(colours), colours);
  EXPECT_LT(error, 1.6 * floor);
  EXPECT_LT(error, 0.5 * mosaic);
}

TEST(StartFromKMeansTest, SameSeedSameModelAndWrongInputIsRefused) {
  const auto rows = to_patches(pictures_with_structure(10), 4).reshape({-1, 48});
  Model a = make_model(tests::tiny_config_with_options(), 1, at::kCPU);
  Model b = make_model(tests::tiny_config_with_options(), 1, at::kCPU);
  start_from_kmeans(a, rows, 2, 5);
  start_from_kmeans(b, rows, 2, 5);
  EXPECT_TRUE(at::equal(a.quantizer.codebook, b.quantizer.codebook));
  EXPECT_TRUE(at::equal(a.decoder.linear_path.weight, b.decoder.linear_path.weight));
  expect_error(ErrorKind::kUsage, "expected (M, 48) float32 patches",
               [&] { start_from_kmeans(a, rows.narrow(1, 0, 47), 2, 5); });
  expect_error(ErrorKind::kUsage, "expected at least 32 patches, got 31",
               [&] { start_from_kmeans(a, rows.narrow(0, 0, 31), 2, 5); });
  Model plain = make_model(tiny_config(), 1, at::kCPU);
  expect_error(ErrorKind::kUsage, "expected a config with linear_path",
               [&] { start_from_kmeans(plain, rows, 2, 5); });
}

TEST(StartFromLatentsTest, PutsCodesWhereTheLatentsAre) {
  for (const bool normalize : {true, false}) {
    Config config = tiny_config();
    config.normalize_codes = normalize;
    Model model = make_model(config, 1, at::kCPU);
    const auto pictures = pictures_with_structure(40);
    const auto quantization_error = [&] {
      const Forward f = forward(model, pictures, at::kFloat);
      return mean_squared_error(f.latents, f.codes);
    };
    const double fresh = quantization_error();
    start_codebook_from_latents(model, pictures, 5, 1);
    EXPECT_LT(quantization_error(), 0.3 * fresh);
  }
}

TEST(CodebookUsageTest, CountsUsageAndPerplexity) {
  CodebookUsage usage(4, at::kCPU);
  EXPECT_EQ(usage.usage(10), 0.0);
  EXPECT_EQ(usage.perplexity(), 1.0);
  usage.decay = 1.0;
  usage.observe(at::tensor({0, 1, 1, 0}, at::kLong));
  EXPECT_NEAR(usage.perplexity(), 2.0, 1e-9);
  EXPECT_EQ(usage.usage(10), 0.5);
  usage.observe(at::tensor({2, 2, 3, 3}, at::kLong).reshape({2, 2}));
  EXPECT_NEAR(usage.perplexity(), 4.0, 1e-9);
  EXPECT_EQ(usage.usage(10), 1.0);
  EXPECT_EQ(usage.usage(1), 0.5);
  EXPECT_TRUE(at::equal(usage.unused_for, at::tensor({1, 1, 0, 0}, at::kLong)));
}

TEST(RestartTest, MovesTheDeadestCodesWithinTheLimitAndGivesThemTime) {
  Model model = make_model(tiny_config(), 1, at::kCPU);
  CodebookUsage usage(32, at::kCPU);
  for (int i = 0; i < 5; ++i) usage.observe(at::tensor({0, 1, 2}, at::kLong));
  const auto before = model.quantizer.codebook.clone();
  const auto latents = random_tensor(2, {2, 16, 8});
  const RestartOptions options{.unused_for = 5, .max_codes = 20, .seed = 1};
  const auto moved = restart_dead_codes(model, usage, latents, 5, options);
  ASSERT_EQ(moved.numel(), 20);
  EXPECT_GT(moved.min().item<int64_t>(), 2);
  const auto rows = latents.reshape({-1, 8});
  const auto match = kernels::codebook_lookup(model.quantizer.codebook.index_select(0, moved), rows,
                                              kernels::CodeMetric::kL2);
  EXPECT_EQ(match.score.max().item<float>(), 0.0F);            // each on a latent
  EXPECT_EQ(std::get<0>(at::_unique(match.ids)).numel(), 20);  // of its own
  EXPECT_TRUE(at::equal(model.quantizer.codebook.narrow(0, 0, 3), before.narrow(0, 0, 3)));
  EXPECT_EQ(usage.usage(5), 3.0 / 32);  // a restart is not a use
  EXPECT_EQ(restart_dead_codes(model, usage, latents, 6, options).numel(), 9);  // the others
  EXPECT_EQ(restart_dead_codes(model, usage, latents, 7, options).numel(), 0);  // none is due
}

TEST(EmaCodesTest, FollowTheEquations) {
  Config config = tiny_config();
  config.codebook_size = 2;
  config.code_width = 1;
  config.normalize_codes = false;
  Model model = make_model(config, 1, at::kCPU);
  model.quantizer.codebook.copy_(at::tensor({1.F, 5.F}).reshape({2, 1}));
  EmaCodes ema(model, 2.0);  // counts 2, 2; sums 2, 10
  ema.decay = 0.5;
  ema.update(model, at::tensor({3.F, 5.F}).reshape({1, 2, 1}), at::zeros({1, 2}, at::kLong));
  // counts 1 + 1, 1 + 0; sums 1 + 4, 5
  EXPECT_NEAR(model.quantizer.codebook[0].item<double>(), 2.5, 1e-4);
  EXPECT_NEAR(model.quantizer.codebook[1].item<double>(), 5.0, 1e-4);
  model.quantizer.codebook[1].fill_(-4.0);
  ema.restarted(model, at::tensor({1}, at::kLong));
  EXPECT_EQ(ema.counts[1].item<float>(), 0.25F);
  EXPECT_EQ(ema.sums[1].item<float>(), -1.0F);
}

/// Trains an encoder's linear map and 64 codes on 40 clusters of the plane's sphere; returns the share of
/// codes in use at the end. Codes start in one corner, as a badly placed normal start does.
double usage_after_training(bool care) {
  at::set_num_threads(1);  // so small that more threads only wait for each other
  Config config = tiny_config();
  config.codebook_size = 64;
  Model model = make_model(config, 1, at::kCPU);
  model.quantizer.codebook.copy_(random_tensor(2, {64, 8}) * 0.05 + 1.0);
  const auto rows = clustered_rows(21, 40, 8, 8, 0.3);  // (320, 8)
  const auto data = rows / at::linalg_vector_norm(rows, 2, at::IntArrayRef{-1}, true);
  ParameterList list;
  list_quantizer(model.quantizer, config, list);
  tests::Adam adam(list);
  CodebookUsage usage(64, at::kCPU);
  const RestartOptions options{.unused_for = 10, .max_codes = 8, .seed = 1};
  for (int step = 0; step < 200; ++step) {
    Philox random(4, "batch", static_cast<uint64_t>(step));
    std::vector<int64_t> chosen(128);
    for (int64_t& row : chosen) row = static_cast<int64_t>(random.uniform_int(320));
    const auto latents = data.index_select(0, at::tensor(chosen, at::kLong)).unsqueeze(0);
    const Quantized q = quantize(model.quantizer, config, latents);
    adam.step((q.codes - q.latents).square().sum(-1).mean(), 0.003);
    usage.observe(q.ids);
    if (care) restart_dead_codes(model, usage, q.latents, step, options);
  }
  return usage.usage(30);
}

TEST(CollapseTest, WithoutCareMostCodesDieAndWithItNone) {
  const double without = usage_after_training(false), with = usage_after_training(true);
  EXPECT_LT(without, 0.5);
  EXPECT_GT(with, 0.95);
  EXPECT_EQ(usage_after_training(true), with);  // deterministic
}

}  // namespace
}  // namespace lexel::vqgan
