#pragma once

#include <ATen/core/Tensor.h>

namespace lexel::kernels {

enum class WeightFormat { kFloat32, kBFloat16, kInt8 };

/// A weight matrix as linear_decode reads it. `values` and `scales` are laid out for one device, and opaque:
/// unpack_weights() gives the numbers back.
struct DecodeWeights {
  WeightFormat format = WeightFormat::kFloat32;
  int64_t outputs = 0, inputs = 0;
  int64_t group = 0;  // kInt8: inputs that share a scale; 0: the whole row
  at::Tensor values;  // float32, bfloat16 or int8
  at::Tensor scales;  // float32; kInt8 only
};

/// Rounds and lays out a weight matrix. int8: scale = max |w| / 127 of the row or group, nearest, ties to even; the same
/// numbers on every device.
///
/// weight   (O, I) float32, contiguous, CPU or CUDA; O and I in 1..2^20
/// group    0, 32, 64 or 128, dividing I; kInt8 only
/// throws   Error(kUsage) on another dtype, rank, size or group, or a value that is not finite (in bfloat16: once rounded)
DecodeWeights pack_weights(const at::Tensor& weight, WeightFormat format, int64_t group = 0);

/// The matrix that linear_decode multiplies by: (O, I) float32, the rounded numbers.
at::Tensor unpack_weights(const DecodeWeights& weights);

enum class Activation {
  kNone,
  kGelu,  // tanh form
  kRelu,
  kGatedGelu,  // rows 0..O/2-1 the gate, the rest the values: gelu(gate) * values, (B, O / 2)
  kGatedSilu,  // the same with x sigmoid(x): Llama's
};

/// What is done in the same pass before and after the product.
struct LinearDecodeOptions {
  at::Tensor norm_weight,
      norm_bias;  // (I) float32: x is normalised first. Weight alone: root mean square;
                  // both: layer norm; none: x as it is
  double norm_epsilon = 1e-5;
  at::Tensor bias;  // (O) float32
  Activation activation = Activation::kNone;
  at::Tensor residual;  // (B, outputs after the activation) float32, added last
};

/// y = activation(norm(x) W^T + bias) + residual, for the few rows of a decode step. The sums' order depends on the shape
/// of W only: a row gives the same bits alone and in any batch. x is never rounded to fewer bits than float32 on the
/// CPU, nor to fewer than bfloat16 on CUDA tensor cores. NaN and infinities go through as in plain arithmetic.
///
/// x        (B, I) float32, contiguous, same device as the weights; B in 0..16
/// options  its tensors contiguous, same device
/// returns  (B, O), or (B, O / 2) for the gated; float32
/// throws   Error(kUsage) on another dtype, shape, device or layout, or an epsilon that is not finite and >= 0
/// source   gelu: Hendrycks and Gimpel 2016, arXiv:1606.08415; gated: Shazeer 2020, arXiv:2002.05202;
///          root mean square norm: Zhang and Sennrich 2019, arXiv:1910.07467
at::Tensor linear_decode(const at::Tensor& x, const DecodeWeights& weights,
                         const LinearDecodeOptions& options = {});

/// The meaning of linear_decode: float64 throughout, on unpack_weights(); same arguments and results.
at::Tensor linear_decode_reference(const at::Tensor& x, const DecodeWeights& weights,
                                   const LinearDecodeOptions& options = {});

}  // namespace lexel::kernels
