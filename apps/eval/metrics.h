#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <vector>

namespace lexel::eval {

// Numbers of a tokenizer's evaluation. Pictures are (B, 3, H, W) floating point in [0, 1], data range 1.
// Everything is computed in float64 and differentiates nothing. Error(kUsage) on shapes that do not fit.

/// Mean squared error of each picture, over its channels and pixels. returns (B) float64
at::Tensor mse(const at::Tensor& pictures, const at::Tensor& references);

/// Peak signal-to-noise ratio of each picture, 10 log10(1 / mse) dB; infinite for equal pictures. The PSNR of
/// a set is the mean of its pictures' PSNR, not that of the mean error.
/// returns  (B) float64, equal to skimage.metrics.peak_signal_noise_ratio(data_range=1)
at::Tensor psnr(const at::Tensor& pictures, const at::Tensor& references);

enum class SsimWindow {
  kGaussian,  // 11x11, sigma 1.5, population covariance: the paper's
  kUniform,   // 7x7, sample covariance: scikit-image's default
};

/// Structural similarity of each picture: the mean over windows inside it and over channels.
///
/// returns  (B) float64; kGaussian is skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
///          use_sample_covariance=False, data_range=1, channel_axis=0), kUniform the same with its defaults
/// throws   Error(kUsage) on pictures smaller than the window
/// source   Wang et al. 2004, doi:10.1109/TIP.2003.819861
at::Tensor ssim(const at::Tensor& pictures, const at::Tensor& references,
                SsimWindow window = SsimWindow::kGaussian);

/// The normal distribution fitted to a set of features.
struct FeatureStatistics {
  int64_t count = 0;      // pictures
  at::Tensor mean;        // (D) float64
  at::Tensor covariance;  // (D, D) float64, divided by count - 1
};

/// features (N, D) floating point, N >= 2
FeatureStatistics feature_statistics(const at::Tensor& features);

/// Frechet distance of two normal distributions:
/// |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2). With few pictures it is biased upwards: compare
/// sets of one size only.
/// source   Dowson and Landau 1982, doi:10.1016/0047-259X(82)90077-X; Heusel et al. 2017, arXiv:1706.08500
double frechet_distance(const FeatureStatistics& a, const FeatureStatistics& b);

/// How a set of pictures uses a codebook.
struct CodebookStatistics {
  double usage = 0;       // share of the codes that occur, 0 to 1
  double perplexity = 0;  // exp of the entropy of their frequencies, 1 to K
};

/// ids      int64 of any shape, at least one
/// throws   Error(kBadData) on an id outside [0, codebook_size)
CodebookStatistics codebook_statistics(const at::Tensor& ids, int64_t codebook_size);

/// A number with its bootstrap interval.
struct Interval {
  double estimate = 0;  // of the sample itself
  double low = 0, high = 0;
};

/// A share with its Wilson interval: fits shares near 0 and 1, and few trials.
///
/// held     how often it held, 0 .. trials
/// returns  held / trials and its interval; of no trials 0 in [0, 1]
/// throws   Error(kUsage) on negative numbers or held > trials
/// source   Wilson 1927, doi:10.1080/01621459.1927.10502953; 95 %
Interval wilson_interval(int64_t held, int64_t trials);

/// A statistic of the items with these numbers (0 to count - 1, some of them several times).
using Statistic = std::function<double(const std::vector<int64_t>& items)>;

/// Percentile bootstrap: the statistic over `resamples` draws of `count` items with replacement, cut at
/// (1 - confidence) / 2 on both sides (linear between ranks, as numpy.quantile).
///
/// throws   Error(kUsage) when count or resamples is below 1, or confidence outside (0, 1)
/// source   Efron 1979, doi:10.1214/aos/1176344552
Interval bootstrap_interval(int64_t count, const Statistic& statistic, uint64_t seed,
                            int64_t resamples = 1000, double confidence = 0.95);

/// The same for the mean of values.
Interval bootstrap_mean(const std::vector<double>& values, uint64_t seed, int64_t resamples = 1000,
                        double confidence = 0.95);

}  // namespace lexel::eval
