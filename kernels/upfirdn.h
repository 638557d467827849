#pragma once

#include <ATen/core/Tensor.h>
#include <array>
#include <cstdint>

namespace lexel::kernels {

struct UpfirdnOptions {
  int64_t up = 1;    // 1..4: up - 1 zeros after each pixel
  int64_t down = 1;  // 1..4: every down-th pixel of the result is kept
  std::array<int64_t, 4> padding = {
      0, 0, 0, 0};  // left, right, top, bottom, in pixels after `up`; negative crops
};

/// Up-sample by zeros, pad, correlate each channel with one small filter, down-sample: the resampling of StyleGAN2, in one pass.
/// Differentiable any number of times in x (R1 needs two); the filter is a constant. Note: a correlation, as
/// at::conv2d; filters here are symmetric. Sums are float32, bfloat16 results rounded to nearest even. A filter that is
/// the product of a column and a row, to the last bit, is applied as the two.
///
/// x        (B, C, H, W) float32, bfloat16 or (slowly, for checks of gradients) float64, CPU or CUDA; channels-last or else
///          made contiguous
/// filter   (kh, kw) float32 on the CPU, sides in 1..8
/// returns  (B, C, H', W'), W' = (W up + left + right - kw) / down + 1; dtype and layout of x
/// throws   Error(kUsage) on another dtype, shape or device, an option out of range, or an empty result
/// source   Karras et al. 2020, arXiv:1912.04958, appendix B; Karras et al. 2018, arXiv:1812.04948
at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& filter,
                     const UpfirdnOptions& options = {});

/// The meaning of upfirdn2d: float64 throughout, in ATen; same arguments and results.
at::Tensor upfirdn2d_reference(const at::Tensor& x, const at::Tensor& filter,
                               const UpfirdnOptions& options = {});

}  // namespace lexel::kernels
