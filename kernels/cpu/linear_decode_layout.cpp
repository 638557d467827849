// Weights between rows and panels, in ATen: done once a model.

#include <ATen/ops/constant_pad_nd.h>

#include "kernels/cpu/linear_decode.h"

namespace lexel::kernels::cpu {
namespace {

int64_t panels_of(int64_t outputs) { return (outputs + kPanel - 1) / kPanel; }

/// (O, n) -> (panels, ceil(n / step), kPanel, step), padded with zeros.
at::Tensor to_panels(const at::Tensor& rows, int64_t step) {
  const int64_t panels = panels_of(rows.size(0));
  const int64_t columns = (rows.size(1) + step - 1) / step * step;
  const at::Tensor padded = at::constant_pad_nd(
      rows,
      {0, columns - rows.size(1), 0, panels * kPanel - rows.size(0)});  // (panels kPanel, columns)
  return padded.view({panels, kPanel, columns / step, step}).transpose(1, 2).contiguous();
}

at::Tensor from_panels(const at::Tensor& panels, int64_t outputs, int64_t columns) {
  const int64_t step = panels.size(3);
  return panels.transpose(1, 2)
      .reshape({panels.size(0) * kPanel, panels.size(1) * step})
      .slice(0, 0, outputs)
      .slice(1, 0, columns)
      .contiguous();
}

}  // namespace

DecodeWeights lay_out_weights(const DecodeWeights& rows) {
  DecodeWeights weights = rows;
  weights.values = to_panels(rows.values, rows.format == WeightFormat::kBFloat16 ? 2 : 1);
  if (rows.scales.defined()) weights.scales = to_panels(rows.scales, 1);
  return weights;
}

DecodeWeights weight_rows(const DecodeWeights& weights) {
  DecodeWeights rows = weights;
  rows.values = from_panels(weights.values, weights.outputs, weights.inputs);
  if (weights.scales.defined()) {
    rows.scales = from_panels(weights.scales, weights.outputs, weights.scales.size(1));
  }
  return rows;
}

}  // namespace lexel::kernels::cpu
