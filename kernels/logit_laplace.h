#pragma once

#include <ATen/core/Tensor.h>

namespace lexel::kernels {

/// Negative log-likelihood of pictures under the logit-Laplace distribution, the constant included: with x' = 0.8 x + 0.1, the
/// mean of |logit(x') - mu| / b + ln b + ln(2 x' (1 - x')). It is the density of x' (that of x differs by ln 0.8),
/// and gets negative where the model is sure. A NaN anywhere makes it NaN. Differentiable once, in `output`; value and
/// gradient come from one pass, and the mean is summed in float64 in an order that does not depend on threads. Each
/// element is within 1e-6 (1 + |logit(x') - mu| / b) of float64's.
///
/// output   (B, 6, H, W) float32, contiguous, CPU or CUDA; maps 0-2 mu of red, green, blue; maps 3-5 ln b
/// images   (B, 3, H, W) float32, contiguous, same device; x, clamped to [0, 1]; a constant
/// returns  a scalar, float32
/// throws   Error(kUsage) on another dtype, shape, layout or device, on no pictures, and on a second derivative
/// source   Ramesh et al. 2021, arXiv:2102.12092, equations 2 and 3
at::Tensor logit_laplace_loss(const at::Tensor& output, const at::Tensor& images);

/// The meaning of logit_laplace_loss: in float64, differentiable by ATen; same arguments, of any floating dtype and layout;
/// returns float64.
at::Tensor logit_laplace_loss_reference(const at::Tensor& output, const at::Tensor& images);

}  // namespace lexel::kernels
