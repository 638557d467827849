#include "apps/eval/metrics.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_eigvalsh.h>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::eval {
namespace {

void check_pictures(const char* function, const at::Tensor& pictures,
                    const at::Tensor& references) {
  check_arg(pictures.dim() == 4 && pictures.numel() > 0 && pictures.is_floating_point() &&
                references.is_floating_point() && pictures.sizes() == references.sizes(),
            function, "expected two (B, C, H, W) floating-point tensors of one shape, got ",
            pictures.scalar_type(), " ", pictures.sizes(), " and ", references.scalar_type(), " ",
            references.sizes());
}

// The mean over a window of each map, weighted by weights x weights; windows lie inside.
at::Tensor window_mean(const at::Tensor& maps, const at::Tensor& weights) {
  const at::Tensor planes = maps.reshape({-1, 1, maps.size(2), maps.size(3)});
  const at::Tensor rows = at::conv2d(planes, weights.reshape({1, 1, -1, 1}));
  return at::conv2d(rows, weights.reshape({1, 1, 1, -1}));  // (B C, 1, H - n + 1, W - n + 1)
}

at::Tensor window_weights(SsimWindow window, const at::TensorOptions& options) {
  if (window == SsimWindow::kUniform) return at::full({7}, 1.0 / 7, options);
  const at::Tensor offset = at::arange(-5, 6, options) / 1.5;
  const at::Tensor weights = (offset.square() * -0.5).exp();
  return weights / weights.sum();
}

double quantile(const std::vector<double>& sorted, double share) {
  const double rank = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = rank - static_cast<double>(below);
  // Equal neighbours stay themselves: infinite values have no difference.
  if (sorted[below] == sorted[above]) return sorted[below];
  return sorted[below] + part * (sorted[above] - sorted[below]);
}

}  // namespace

at::Tensor mse(const at::Tensor& pictures, const at::Tensor& references) {
  check_pictures("mse", pictures, references);
  const at::NoGradGuard no_gradient;
  return (pictures.to(at::kDouble) - references.to(at::kDouble)).square().mean({1, 2, 3});
}

at::Tensor psnr(const at::Tensor& pictures, const at::Tensor& references) {
  check_pictures("psnr", pictures, references);
  return mse(pictures, references).log10() * -10.0;
}

at::Tensor ssim(const at::Tensor& pictures, const at::Tensor& references, SsimWindow window) {
  check_pictures("ssim", pictures, references);
  const at::NoGradGuard no_gradient;
  const at::Tensor x = pictures.to(at::kDouble);
  const at::Tensor y = references.to(at::kDouble);
  const at::Tensor weights = window_weights(window, x.options());
  const int64_t side = weights.size(0);
  check_arg(x.size(2) >= side && x.size(3) >= side, "ssim", "expected pictures of ", side,
            " pixels a side at least, got ", x.size(3), " x ", x.size(2));
  const double pixels = static_cast<double>(side * side);
  const double correction = window == SsimWindow::kUniform ? pixels / (pixels - 1) : 1.0;
  constexpr double kC1 = 0.01 * 0.01;  // (K1 L)^2 and (K2 L)^2 with the range L = 1
  constexpr double kC2 = 0.03 * 0.03;

  const at::Tensor mean_x = window_mean(x, weights);
  const at::Tensor mean_y = window_mean(y, weights);
  const at::Tensor variance_x = (window_mean(x * x, weights) - mean_x * mean_x) * correction;
  const at::Tensor variance_y = (window_mean(y * y, weights) - mean_y * mean_y) * correction;
  const at::Tensor covariance = (window_mean(x * y, weights) - mean_x * mean_y) * correction;
  const at::Tensor similarity =
      (2 * mean_x * mean_y + kC1) * (2 * covariance + kC2) /
      ((mean_x * mean_x + mean_y * mean_y + kC1) * (variance_x + variance_y + kC2));
  return similarity.reshape({x.size(0), -1}).mean(1);
}

FeatureStatistics feature_statistics(const at::Tensor& features) {
  check_arg(features.dim() == 2 && features.size(0) >= 2 && features.size(1) >= 1 &&
                features.is_floating_point(),
            "feature_statistics", "expected (N, D) features of 2 pictures at least, got ",
            features.sizes());
  const at::NoGradGuard no_gradient;
  const at::Tensor rows = features.to(at::kDouble);
  const at::Tensor mean = rows.mean(0);
  const at::Tensor centred = rows - mean;
  const int64_t count = rows.size(0);
  return {count, mean, centred.t().matmul(centred) / static_cast<double>(count - 1)};
}

double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b) {
  check_arg(a.mean.defined() && b.mean.defined() && a.mean.sizes() == b.mean.sizes(),
            "frechet_distance", "expected statistics of one width, got ",
            a.mean.defined() ? a.mean.numel() : 0, " and ", b.mean.defined() ? b.mean.numel() : 0);
  const at::NoGradGuard no_gradient;
  // The root of a singular covariance has no inverse, but it exists: rounding's negative eigenvalues are 0.
  const auto [values, vectors] = at::linalg_eigh(a.covariance);
  const at::Tensor root = (vectors * values.clamp_min(0).sqrt()).matmul(vectors.t());
  const at::Tensor product = root.matmul(b.covariance).matmul(root);
  const at::Tensor cross =
      at::linalg_eigvalsh((product + product.t()) / 2).clamp_min(0).sqrt().sum();
  const at::Tensor distance =
      (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * cross;
  return std::max(distance.item<double>(), 0.0);
}

CodebookStatistics codebook_statistics(const at::Tensor& ids, int64_t codebook_size) {
  check_arg(ids.scalar_type() == at::kLong && ids.numel() > 0 && codebook_size > 0,
            "codebook_statistics", "expected int64 ids, got ", ids.scalar_type(), " ", ids.sizes());
  const at::Tensor flat = ids.reshape({-1});
  const int64_t low = flat.min().item<int64_t>();
  const int64_t high = flat.max().item<int64_t>();
  check(low >= 0 && high < codebook_size, ErrorKind::kBadData,
        "codebook_statistics: expected ids in 0..", codebook_size - 1, ", got ",
        low < 0 ? low : high);
  const at::Tensor counts = at::bincount(flat, {}, codebook_size).to(at::kDouble);
  const at::Tensor share = counts / static_cast<double>(flat.numel());
  // 0 log 0 is 0: a frequency of 1 in its place gives that.
  const at::Tensor entropy = -(share * share.masked_fill(share == 0, 1.0).log()).sum();
  return {(counts > 0).sum().item<double>() / static_cast<double>(codebook_size),
          std::exp(entropy.item<double>())};
}

Interval wilson_interval(int64_t held, int64_t trials) {
  check_arg(held >= 0 && held <= trials, "wilson_interval", "expected 0 <= held <= trials, got ",
            held, " of ", trials);
  if (trials == 0) return {0.0, 0.0, 1.0};
  constexpr double kZ = 1.959963984540054;  // 97.5 % of the normal distribution
  const double n = static_cast<double>(trials), share = static_cast<double>(held) / n;
  const double middle = (share + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double half =
      kZ * std::sqrt(share * (1 - share) / n + kZ * kZ / (4 * n * n)) / (1 + kZ * kZ / n);
  // Exactly 0 and 1 at the ends, without rounding.
  return {share, held == 0 ? 0.0 : middle - half, held == trials ? 1.0 : middle + half};
}

Interval bootstrap_interval(int64_t count, const Statistic& statistic, uint64_t seed,
                            int64_t resamples, double confidence) {
  check_arg(count >= 1, "bootstrap_interval", "expected 1 item at least, got ", count);
  check_arg(resamples >= 1, "bootstrap_interval", "expected 1 resample at least, got ", resamples);
  check_arg(confidence > 0 && confidence < 1, "bootstrap_interval",
            "expected a confidence in (0, 1), got ", confidence);
  std::vector<int64_t> items(static_cast<size_t>(count));
  std::iota(items.begin(), items.end(), 0);
  Interval interval;
  interval.estimate = statistic(items);
  std::vector<double> results;
  for (int64_t i = 0; i < resamples; ++i) {
    Philox random(seed, "bootstrap", static_cast<uint64_t>(i));
    for (int64_t& item : items) {
      item = static_cast<int64_t>(random.uniform_int(static_cast<uint64_t>(count)));
    }
    results.push_back(statistic(items));
  }
  std::sort(results.begin(), results.end());
  interval.low = quantile(results, (1 - confidence) / 2);
  interval.high = quantile(results, (1 + confidence) / 2);
  return interval;
}

Interval bootstrap_mean(const std::vector<double>& values, uint64_t seed, int64_t resamples,
                        double confidence) {
  const auto mean = [&values](const std::vector<int64_t>& items) {
    double sum = 0;
    for (const int64_t item : items) sum += values[static_cast<size_t>(item)];
    return sum / static_cast<double>(items.size());
  };
  return bootstrap_interval(static_cast<int64_t>(values.size()), mean, seed, resamples, confidence);
}

}  // namespace lexel::eval
