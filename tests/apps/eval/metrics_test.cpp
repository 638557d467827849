#include "apps/eval/metrics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"

namespace lexel::eval {
namespace {

using tests::expect_error;
using tests::random_tensor;
using tests::random_uniform;

at::Tensor numbers(std::initializer_list<double> values) {
  return at::tensor(at::ArrayRef<double>(values), at::kDouble);
}

// Waves, the same in Python: 0.5 + 0.5 sin(0.3 (c + 1) y + 0.2 x + c), (1, 3, height, width).
at::Tensor waves(int64_t height, int64_t width) {
  const at::Tensor c = at::arange(3, at::kDouble).reshape({1, 3, 1, 1});
  const at::Tensor y = at::arange(height, at::kDouble).reshape({1, 1, height, 1});
  const at::Tensor x = at::arange(width, at::kDouble).reshape({1, 1, 1, width});
  return 0.5 + 0.5 * (0.3 * (c + 1) * y + 0.2 * x + c).sin();
}

// The waves, darker and with a grating over them.
at::Tensor damaged_waves(int64_t height, int64_t width) {
  const at::Tensor x = at::arange(width, at::kDouble).reshape({1, 1, 1, width});
  return 0.8 * waves(height, width) + 0.1 + 0.1 * (2.0 * x).cos();
}

TEST(Mse, IsOfEachPicture) {
  const at::Tensor black = at::zeros({2, 3, 2, 2});
  at::Tensor other = at::zeros({2, 3, 2, 2});
  other[1].fill_(0.5);
  const at::Tensor result = mse(other, black);
  EXPECT_EQ(result[0].item<double>(), 0);
  EXPECT_EQ(result[1].item<double>(), 0.25);
}

TEST(Psnr, HandMade) {
  const at::Tensor black = at::zeros({1, 3, 2, 2});
  EXPECT_NEAR(psnr(at::full({1, 3, 2, 2}, 0.1, at::kDouble), black).item<double>(), 20.0, 1e-12);
  EXPECT_EQ(psnr(black, black).item<double>(), INFINITY);
}

TEST(Ssim, EqualPicturesGiveOne) {
  const at::Tensor pictures = random_uniform(1, {2, 3, 16, 20});
  for (const SsimWindow window : {SsimWindow::kGaussian, SsimWindow::kUniform}) {
    EXPECT_NEAR(ssim(pictures, pictures, window).min().item<double>(), 1.0, 1e-12);
  }
}

TEST(Ssim, FlatPicturesCompareByBrightness) {
  const at::Tensor dark = at::full({1, 3, 16, 16}, 0.25, at::kDouble);
  const at::Tensor light = at::full({1, 3, 16, 16}, 0.75, at::kDouble);
  const double wanted = (2 * 0.25 * 0.75 + 1e-4) / (0.25 * 0.25 + 0.75 * 0.75 + 1e-4);
  EXPECT_NEAR(ssim(dark, light).item<double>(), wanted, 1e-9);
}

TEST(Ssim, PicturesOfABatchAreIndependent) {
  const at::Tensor a = random_uniform(1, {3, 3, 16, 16});
  const at::Tensor b = random_uniform(2, {3, 3, 16, 16});
  const at::Tensor all = ssim(a, b);
  EXPECT_NEAR(all[2].item<double>(), ssim(a.narrow(0, 2, 1), b.narrow(0, 2, 1)).item<double>(),
              1e-12);
}

// Golden numbers: scikit-image 0.25.2 (numpy 2.2.6), tests/apps/eval/skimage_metrics.py on 24 x 31 waves.
TEST(AgainstScikitImage, GoldenNumbers) {
  const at::Tensor reference = waves(24, 31);
  const at::Tensor picture = damaged_waves(24, 31);
  EXPECT_NEAR(psnr(picture, reference).item<double>(), 19.944540516597037, 1e-9);
  EXPECT_NEAR(ssim(picture, reference, SsimWindow::kGaussian).item<double>(), 0.9034015322852592,
              1e-9);
  EXPECT_NEAR(ssim(picture, reference, SsimWindow::kUniform).item<double>(), 0.9292794666709744,
              1e-9);
}

TEST(AgainstScikitImage, AgreesOnNoise) {
  const std::string python = LEXEL_TEST_PYTHON;
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "no " << python << " (setup/test_data.sh)";
  const tests::TemporaryFolder folder;
  const at::Tensor reference = random_uniform(7, {1, 3, 40, 33}).to(at::kDouble);
  const at::Tensor noise = random_tensor(8, {1, 3, 40, 33}).to(at::kDouble);
  const at::Tensor picture = (reference + 0.1 * noise).clamp(0, 1).contiguous();
  const auto write = [&](const std::string& name, const at::Tensor& values) {
    std::ofstream out(folder / name, std::ios::binary);
    out.write(static_cast<const char*>(values.const_data_ptr()),
              static_cast<std::streamsize>(values.nbytes()));
  };
  write("picture", picture);
  write("reference", reference);
  const std::string command =
      concat("'", python, "' '", LEXEL_SOURCE_DIR, "/tests/apps/eval/skimage_metrics.py' ",
             folder / "picture", " ", folder / "reference", " 3 40 33 > ", folder / "out");
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::ifstream in(folder / "out");
  double wanted_psnr = 0, wanted_gaussian = 0, wanted_uniform = 0;
  ASSERT_TRUE(in >> wanted_psnr >> wanted_gaussian >> wanted_uniform);
  EXPECT_NEAR(psnr(picture, reference).item<double>(), wanted_psnr, 1e-9);
  EXPECT_NEAR(ssim(picture, reference, SsimWindow::kGaussian).item<double>(), wanted_gaussian,
              1e-9);
  EXPECT_NEAR(ssim(picture, reference, SsimWindow::kUniform).item<double>(), wanted_uniform, 1e-9);
}

TEST(FeatureStatistics, HandMade) {
  const FeatureStatistics result = feature_statistics(numbers({0, 0, 2, 2, 4, 1}).reshape({3, 2}));
  EXPECT_EQ(result.count, 3);
  EXPECT_TRUE(result.mean.equal(numbers({2, 1})));
  EXPECT_TRUE(result.covariance.allclose(numbers({4, 1, 1, 1}).reshape({2, 2})));
}

TEST(FrechetDistance, IsZeroOfItself) {
  const FeatureStatistics a = feature_statistics(random_tensor(1, {50, 8}));
  EXPECT_NEAR(frechet_distance(a, a), 0, 1e-10);
}

TEST(FrechetDistance, ClosedFormOfDiagonalGaussians) {
  // sum of (m1 - m2)^2 + (s1 - s2)^2 over the axes.
  const FeatureStatistics a{10, numbers({0, 1, 2}), at::diag(numbers({1, 4, 9}))};
  const FeatureStatistics b{10, numbers({1, 1, 0}), at::diag(numbers({4, 4, 1}))};
  EXPECT_NEAR(frechet_distance(a, b), 1 + 0 + 4 + 1 + 0 + 4, 1e-10);
}

TEST(FrechetDistance, OfScaledCovariancesThatDoNotCommuteWithTheAxes) {
  // C2 = 9 C1: tr C1 + 9 tr C1 - 2 * 3 tr C1 = 4 tr C1.
  const FeatureStatistics a = feature_statistics(random_tensor(2, {40, 6}));
  const FeatureStatistics b{40, a.mean, a.covariance * 9};
  EXPECT_NEAR(frechet_distance(a, b), 4 * a.covariance.trace().item<double>(), 1e-9);
}

TEST(FrechetDistance, IsSymmetricAndTakesSingularCovariances) {
  const FeatureStatistics a = feature_statistics(random_tensor(3, {5, 12}));  // rank 4
  const FeatureStatistics b = feature_statistics(random_tensor(4, {7, 12}) + 1);
  const double distance = frechet_distance(a, b);
  EXPECT_GT(distance, 1);
  EXPECT_NEAR(frechet_distance(b, a), distance, 1e-6 * distance);
}

TEST(CodebookStatistics, HandMade) {
  const at::Tensor ids = at::tensor({0, 0, 1, 1}, at::kLong).reshape({2, 2});
  const CodebookStatistics result = codebook_statistics(ids, 8);
  EXPECT_EQ(result.usage, 0.25);
  EXPECT_NEAR(result.perplexity, 2.0, 1e-12);
}

TEST(CodebookStatistics, EvenUseHasThePerplexityOfTheCodebook) {
  const CodebookStatistics result = codebook_statistics(at::arange(16, at::kLong), 16);
  EXPECT_EQ(result.usage, 1.0);
  EXPECT_NEAR(result.perplexity, 16.0, 1e-9);
}

TEST(Bootstrap, EqualValuesHaveNoWidth) {
  const Interval result = bootstrap_mean({3, 3, 3}, 1);
  EXPECT_EQ(result.estimate, 3);
  EXPECT_EQ(result.low, 3);
  EXPECT_EQ(result.high, 3);
}

TEST(Bootstrap, HasTheWidthOfTheNormalInterval) {
  const at::Tensor sample = random_tensor(5, {400}).to(at::kDouble);
  const double* data = sample.const_data_ptr<double>();
  const Interval result = bootstrap_mean({data, data + 400}, 1, 2000);
  const double wanted = 1.96 * sample.std().item<double>() / 20;
  EXPECT_NEAR(result.estimate, sample.mean().item<double>(), 1e-12);
  EXPECT_NEAR(result.high - result.estimate, wanted, 0.15 * wanted);
  EXPECT_NEAR(result.estimate - result.low, wanted, 0.15 * wanted);
}

TEST(Bootstrap, IsGivenByItsSeed) {
  const std::vector<double> values = {1, 2, 5, 9};
  EXPECT_EQ(bootstrap_mean(values, 3).low, bootstrap_mean(values, 3).low);
  EXPECT_NE(bootstrap_mean(values, 3, 101).high, bootstrap_mean(values, 4, 101).high);
}

TEST(Bootstrap, TakesAnyStatistic) {
  const auto largest = [](const std::vector<int64_t>& items) {
    return static_cast<double>(*std::max_element(items.begin(), items.end()));
  };
  const Interval result = bootstrap_interval(100, largest, 1);
  EXPECT_EQ(result.estimate, 99);
  EXPECT_LE(result.high, 99);
  EXPECT_GT(result.low, 85);
}

TEST(Metrics, RejectWhatCannotBe) {
  const at::Tensor one = at::zeros({1, 3, 8, 8});
  const at::Tensor two = at::zeros({2, 3, 8, 8});
  expect_error(ErrorKind::kUsage, "mse", [&] { mse(one, two); });
  expect_error(ErrorKind::kUsage, "psnr", [&] { psnr(one, two); });
  expect_error(ErrorKind::kUsage, "ssim", [&] { ssim(one, two); });
  expect_error(ErrorKind::kUsage, "11 pixels a side at least, got 8 x 8", [&] { ssim(one, one); });
  expect_error(ErrorKind::kUsage, "mse", [&] { mse(one.to(at::kByte), one); });
  expect_error(ErrorKind::kUsage, "feature_statistics", [] {
    feature_statistics(at::zeros({1, 4}));
  });
  const FeatureStatistics narrow = feature_statistics(random_tensor(1, {4, 2}));
  const FeatureStatistics wide = feature_statistics(random_tensor(1, {4, 3}));
  expect_error(ErrorKind::kUsage, "one width, got 2 and 3",
               [&] { frechet_distance(narrow, wide); });
  expect_error(ErrorKind::kBadData, "got 8",
               [] { codebook_statistics(at::full({1}, 8, at::kLong), 8); });
  expect_error(ErrorKind::kBadData, "got -1",
               [] { codebook_statistics(at::full({1}, -1, at::kLong), 8); });
  expect_error(ErrorKind::kUsage, "1 item", [] { bootstrap_mean({}, 1); });
  expect_error(ErrorKind::kUsage, "1 resample", [] { bootstrap_mean({1}, 1, 0); });
  expect_error(ErrorKind::kUsage, "confidence", [] { bootstrap_mean({1}, 1, 10, 1.0); });
}

TEST(WilsonInterval, KnownNumbers) {
  // scipy 1.15.3: binomtest(8, 10).proportion_ci(method="wilson")
  const Interval eight = wilson_interval(8, 10);
  EXPECT_DOUBLE_EQ(eight.estimate, 0.8);
  EXPECT_NEAR(eight.low, 0.4901625, 1e-6);
  EXPECT_NEAR(eight.high, 0.9433178, 1e-6);
  const Interval none = wilson_interval(0, 10);
  EXPECT_EQ(none.low, 0.0);
  EXPECT_NEAR(none.high, 0.2775328, 1e-6);
  EXPECT_EQ(wilson_interval(10, 10).high, 1.0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1.0);  // no trial says nothing
  tests::expect_error(ErrorKind::kUsage, "held <= trials", [] { wilson_interval(3, 2); });
}

}  // namespace
}  // namespace lexel::eval
