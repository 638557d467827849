// Weights between rows and panels, in ATen: done once a model.

#include <ATen/ops/constant_pad_nd.h>

#include "kernels/cpu/linear_decode.h"

namespace lexel::kernels::cpu {
namespace {

int64_t panels_of(int64_t outputs) { return (outputs + kPanel - 1) / kPanel; }

/// Inputs that lie together, and whether those of one output do.
struct Step {
  int64_t inputs;
  bool outputs_first;
};

Step step_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kFloat32:
      return {1, true};
    case WeightFormat::kBFloat16:
      return {2, true};
    case WeightFormat::kInt8:
      return {2, false};
  }
  return {};
}

/// (O, n) -> (panels, ceil(n / step), kPanel, step), or (..., step, kPanel), padded with zeros.
at::Tensor to_panels(const at::Tensor& rows, Step step) {
  const int64_t panels = panels_of(rows.size(0));
  const int64_t columns = (rows.size(1) + step.inputs - 1) / step.inputs * step.inputs;
  const at::Tensor padded =  // (panels kPanel, columns)
      at::constant_pad_nd(rows, {0, columns - rows.size(1), 0, panels * kPanel - rows.size(0)});
  const at::Tensor split = padded.view({panels, kPanel, columns / step.inputs, step.inputs});
  return (step.outputs_first ? split.permute({0, 2, 1, 3}) : split.permute({0, 2, 3, 1}))
      .contiguous();
}

at::Tensor from_panels(const at::Tensor& panels, Step step, int64_t outputs, int64_t columns) {
  return (step.outputs_first ? panels.permute({0, 2, 1, 3}) : panels.permute({0, 3, 1, 2}))
      .reshape({panels.size(0) * kPanel, panels.size(1) * step.inputs})
      .slice(0, 0, outputs)
      .slice(1, 0, columns)
      .contiguous();
}

}  // namespace

DecodeWeights lay_out_weights(const DecodeWeights& rows) {
  DecodeWeights weights = rows;
  weights.values = to_panels(rows.values, step_of(rows.format));
  if (rows.scales.defined()) weights.scales = to_panels(rows.scales, {1, true});
  return weights;
}

DecodeWeights weight_rows(const DecodeWeights& weights) {
  DecodeWeights rows = weights;
  rows.values =
      from_panels(weights.values, step_of(weights.format), weights.outputs, weights.inputs);
  if (weights.scales.defined()) {
    rows.scales = from_panels(weights.scales, {1, true}, weights.outputs, weights.scales.size(1));
  }
  return rows;
}

}  // namespace lexel::kernels::cpu
