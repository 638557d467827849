#include "kernels/linear_decode.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu/linear_decode.h"
#include "kernels/cuda/table.h"
#include "kernels/int8_rounding.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kMaxBatch = 16;
constexpr int64_t kMaxSide = int64_t{1} << 20;

bool is_gated(Activation activation) {
  return activation == Activation::kGatedGelu || activation == Activation::kGatedSilu;
}

at::ScalarType dtype_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kFloat32:
      return at::kFloat;
    case WeightFormat::kBFloat16:
      return at::kBFloat16;
    case WeightFormat::kInt8:
      return at::kChar;
  }
  fail(ErrorKind::kUsage, "pack_weights: unknown format ", static_cast<int>(format));
}

void check_weight(const at::Tensor& weight, WeightFormat format, int64_t group) {
  const char* const name = "pack_weights";
  check_arg(weight.defined(), name, "expected a tensor, got an undefined one");
  check_arg(weight.scalar_type() == at::kFloat, name, "expected float32, got ",
            weight.scalar_type());
  check_arg(weight.dim() == 2, name, "expected a weight (O, I), got ", weight.sizes());
  check_arg(weight.size(0) >= 1 && weight.size(0) <= kMaxSide && weight.size(1) >= 1 &&
                weight.size(1) <= kMaxSide,
            name, "expected sides in 1..", kMaxSide, ", got ", weight.sizes());
  check_arg(weight.is_cpu() || weight.is_cuda(), name, "expected a CPU or CUDA tensor, got one on ",
            weight.device());
  check_arg(weight.is_contiguous(), name, "expected a contiguous weight, got strides ",
            weight.strides());
  check_arg(group == 0 || group == 32 || group == 64 || group == 128, name,
            "expected a group of 0, 32, 64 or 128, got ", group);
  check_arg(group == 0 || format == WeightFormat::kInt8, name,
            "expected no group for weights that are not int8, got ", group);
  check_arg(group == 0 || weight.size(1) % group == 0, name,
            "expected a group that divides the inputs, ", weight.size(1), ", got ", group);
}

/// int8 rows and their scales, on the CPU.
void round_to_int8(const at::Tensor& weight, int64_t group, const at::Tensor& values,
                   const at::Tensor& scales) {
  const float* const source = weight.const_data_ptr<float>();
  int8_t* const rounded = values.mutable_data_ptr<int8_t>();
  float* const scale = scales.mutable_data_ptr<float>();
  const int64_t size = group == 0 ? weight.size(1) : group;
  at::parallel_for(0, scales.numel(), 1 + 65536 / size, [&](int64_t first, int64_t last) {
    for (int64_t g = first; g < last; ++g) {
      float largest = 0.0F;
      for (int64_t i = g * size; i < (g + 1) * size; ++i) {
        largest = std::max(largest, std::abs(source[i]));
      }
      scale[g] = int8_scale(largest);
      for (int64_t i = g * size; i < (g + 1) * size; ++i) rounded[i] = to_int8(source[i], scale[g]);
    }
  });
}

void check_vector(const at::Tensor& vector, int64_t size, const at::Tensor& x, const char* what) {
  if (!vector.defined()) return;
  const char* const name = "linear_decode";
  check_arg(
      vector.scalar_type() == at::kFloat && vector.device() == x.device() && vector.is_contiguous(),
      name, "expected a contiguous float32 ", what, " on ", x.device(), ", got ",
      vector.scalar_type(), " on ", vector.device(), " with strides ", vector.strides());
  check_arg(vector.dim() == 1 && vector.size(0) == size, name, "expected a ", what, " of size (",
            size, "), got ", vector.sizes());
}

void check_arguments(const at::Tensor& x, const DecodeWeights& weights,
                     const LinearDecodeOptions& options) {
  const char* const name = "linear_decode";
  check_arg(x.defined() && weights.values.defined(), name,
            "expected a tensor and packed weights, got an undefined one");
  check_arg(x.scalar_type() == at::kFloat, name, "expected float32, got ", x.scalar_type());
  check_arg(x.dim() == 2 && x.size(1) == weights.inputs, name, "expected x (B, ", weights.inputs,
            "), got ", x.sizes());
  check_arg(x.size(0) <= kMaxBatch, name, "expected at most ", kMaxBatch, " rows, got ", x.size(0));
  check_arg(x.device() == weights.values.device(), name, "expected one device, got x on ",
            x.device(), " and weights on ", weights.values.device());
  check_arg(x.is_contiguous(), name, "expected contiguous x, got strides ", x.strides());
  check_arg(options.norm_weight.defined() || !options.norm_bias.defined(), name,
            "expected a norm weight with the norm bias, got none");
  check_arg(std::isfinite(options.norm_epsilon) && options.norm_epsilon >= 0.0, name,
            "expected a norm epsilon >= 0, got ", options.norm_epsilon);
  check_vector(options.norm_weight, weights.inputs, x, "norm weight");
  check_vector(options.norm_bias, weights.inputs, x, "norm bias");
  check_vector(options.bias, weights.outputs, x, "bias");
  const bool gated = is_gated(options.activation);
  check_arg(!gated || weights.outputs % 2 == 0, name,
            "expected an even number of outputs for a gated activation, got ", weights.outputs);
  if (!options.residual.defined()) return;
  const at::Tensor& residual = options.residual;
  const int64_t outputs = gated ? weights.outputs / 2 : weights.outputs;
  check_arg(residual.scalar_type() == at::kFloat && residual.device() == x.device() &&
                residual.is_contiguous(),
            name, "expected a contiguous float32 residual on ", x.device(), ", got ",
            residual.scalar_type(), " on ", residual.device(), " with strides ",
            residual.strides());
  check_arg(residual.dim() == 2 && residual.size(0) == x.size(0) && residual.size(1) == outputs,
            name, "expected a residual (", x.size(0), ", ", outputs, "), got ", residual.sizes());
}

const float* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

}  // namespace

DecodeWeights pack_weights(const at::Tensor& weight, WeightFormat format, int64_t group) {
  check_weight(weight, format, group);
  const at::NoGradGuard no_grad;
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  DecodeWeights rows{format, outputs, inputs, group, {}, {}};
  if (format == WeightFormat::kInt8) {
    const at::Tensor on_cpu = weight.cpu();
    check_arg(at::isfinite(on_cpu).all().item<bool>(), "pack_weights",
              "expected finite weights, got one that is not");
    rows.values = at::empty({outputs, inputs}, on_cpu.options().dtype(at::kChar));
    rows.scales = at::empty({outputs, group == 0 ? 1 : inputs / group}, on_cpu.options());
    round_to_int8(on_cpu, group, rows.values, rows.scales);
    rows.values = rows.values.to(weight.device());
    rows.scales = rows.scales.to(weight.device());
  } else {
    rows.values = weight.detach().to(dtype_of(format));
    check_arg(at::isfinite(rows.values).all().item<bool>(), "pack_weights",
              "expected finite weights, got one that is not");
  }
  if (const CudaKernels* const cuda = cuda_kernels_for(weight)) {
    return cuda->lay_out_weights(rows);
  }
  return cpu::lay_out_weights(rows);
}

at::Tensor unpack_weights(const DecodeWeights& weights) {
  check_arg(weights.values.defined(), "unpack_weights", "expected packed weights, got none");
  const CudaKernels* const cuda = cuda_kernels_for(weights.values);
  const DecodeWeights rows =
      cuda != nullptr ? cuda->weight_rows(weights) : cpu::weight_rows(weights);
  at::Tensor matrix = rows.values.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);  // (O, I)
  if (weights.format == WeightFormat::kInt8) {
    const int64_t groups = rows.scales.size(1);
    matrix.view({weights.outputs, groups, weights.inputs / groups})
        .mul_(rows.scales.unsqueeze(2));  // (O, groups, I / groups)
  }
  return matrix;
}

at::Tensor linear_decode(const at::Tensor& x, const DecodeWeights& weights,
                         const LinearDecodeOptions& options) {
  check_arguments(x, weights, options);
  const at::NoGradGuard no_grad;
  const int64_t outputs = is_gated(options.activation) ? weights.outputs / 2 : weights.outputs;
  if (x.size(0) == 0) return at::empty({0, outputs}, x.options());
  if (const CudaKernels* const cuda = cuda_kernels_for(x)) {
    return cuda->linear_decode(x, weights, options);
  }
  at::Tensor y = at::empty({x.size(0), outputs}, x.options());
  cpu::linear_decode({weights.format, weights.outputs, weights.inputs, weights.group,
                      weights.values.const_data_ptr(), data_or_null(weights.scales),
                      x.const_data_ptr<float>(), x.size(0), data_or_null(options.norm_weight),
                      data_or_null(options.norm_bias), static_cast<float>(options.norm_epsilon),
                      data_or_null(options.bias), options.activation,
                      data_or_null(options.residual), y.mutable_data_ptr<float>()});
  return y;
}

at::Tensor linear_decode_reference(const at::Tensor& x, const DecodeWeights& weights,
                                   const LinearDecodeOptions& options) {
  check_arguments(x, weights, options);
  const at::NoGradGuard no_grad;
  const auto wide = [](const at::Tensor& tensor) { return tensor.to(at::kDouble); };
  at::Tensor input = wide(x);  // (B, I)
  if (options.norm_bias.defined()) {
    input = at::layer_norm(input, {weights.inputs}, wide(options.norm_weight),
                           wide(options.norm_bias), options.norm_epsilon);
  } else if (options.norm_weight.defined()) {
    const at::Tensor mean_square = input.square().mean(1, /*keepdim=*/true);  // (B, 1)
    input =
        input.mul(at::rsqrt(mean_square.add(options.norm_epsilon))).mul(wide(options.norm_weight));
  }
  at::Tensor y = at::matmul(input, wide(unpack_weights(weights)).t());  // (B, O)
  if (options.bias.defined()) y = y.add(wide(options.bias));
  if (options.activation == Activation::kGelu) {
    y = at::gelu(y, "tanh");
  } else if (options.activation == Activation::kRelu) {
    y = at::relu(y);
  } else if (is_gated(options.activation)) {
    const at::Tensor gate = y.slice(1, 0, weights.outputs / 2);  // (B, O / 2)
    const at::Tensor values = y.slice(1, weights.outputs / 2);
    y = values.mul(options.activation == Activation::kGatedGelu ? at::gelu(gate, "tanh")
                                                                : at::silu(gate));
  }
  if (options.residual.defined()) y = y.add(wide(options.residual));
  return y.to(at::kFloat).contiguous();
}

}  // namespace lexel::kernels
