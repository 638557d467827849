#include "kernels/cuda/linear_decode.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include "kernels/check.h"
#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {
namespace {

WeightType type_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kFloat32:
      return WeightType::kFloat32;
    case WeightFormat::kBFloat16:
      return WeightType::kBFloat16;
    case WeightFormat::kInt8:
      return WeightType::kInt8;
  }
  fail(ErrorKind::kInternal, "linear_decode: unknown format");
}

Epilogue epilogue_of(Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return Epilogue::kNone;
    case Activation::kGelu:
      return Epilogue::kGelu;
    case Activation::kRelu:
      return Epilogue::kRelu;
    case Activation::kGatedGelu:
      return Epilogue::kGatedGelu;
    case Activation::kGatedSilu:
      return Epilogue::kGatedSilu;
  }
  fail(ErrorKind::kInternal, "linear_decode: unknown activation");
}

const float* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

}  // namespace

DecodeWeights lay_out_weights(const DecodeWeights& rows) {
  DecodeWeights result = rows;
  const int64_t padding = (kInputPadding - rows.inputs % kInputPadding) % kInputPadding;
  if (padding != 0) result.values = at::constant_pad_nd(rows.values, {0, padding});
  return result;
}

DecodeWeights weight_rows(const DecodeWeights& weights) {
  DecodeWeights rows = weights;
  rows.values = weights.values.slice(1, 0, weights.inputs);
  return rows;
}

at::Tensor linear_decode(const at::Tensor& x, const DecodeWeights& weights,
                         const LinearDecodeOptions& options) {
  const OnDevice device(x);
  const Epilogue epilogue = epilogue_of(options.activation);
  const bool gated = epilogue == Epilogue::kGatedGelu || epilogue == Epilogue::kGatedSilu;
  const at::Tensor y =
      at::empty({x.size(0), gated ? weights.outputs / 2 : weights.outputs}, x.options());
  const Norm norm = options.norm_bias.defined()     ? Norm::kLayer
                    : options.norm_weight.defined() ? Norm::kRootMeanSquare
                                                    : Norm::kNone;
  launch_linear_decode(
      {x.const_data_ptr<float>(), weights.values.const_data_ptr(), data_or_null(weights.scales),
       type_of(weights.format), x.size(0), weights.outputs, weights.inputs,
       weights.scales.defined() ? weights.scales.size(1) : 0, norm,
       data_or_null(options.norm_weight), data_or_null(options.norm_bias),
       static_cast<float>(options.norm_epsilon), data_or_null(options.bias), epilogue,
       data_or_null(options.residual), y.mutable_data_ptr<float>(), limits_of(x).multiprocessors},
      device.stream());
  return y;
}

}  // namespace lexel::kernels::cuda
