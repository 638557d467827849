#pragma once

#include <cstdint>

#include "kernels/linear_decode.h"

namespace lexel::kernels::cpu {

/// Outputs of a panel: lanes are outputs, so that sums need no folding and inputs no padding. Weights lie as
///   float32    (panels, I, kPanel)
///   bfloat16   (panels, ceil(I / 2), kPanel, 2): two inputs in one 32-bit lane
///   int8       (panels, ceil(I / 2), 2, kPanel): two inputs in one cache line
///   scales     (panels, groups, kPanel)
/// with zeros past the last output and input. One layout for all instruction sets.
constexpr int64_t kPanel = 32;

/// From rows, values (O, I) and scales (O, groups), to this layout, and back.
DecodeWeights lay_out_weights(const DecodeWeights& rows);
DecodeWeights weight_rows(const DecodeWeights& weights);

/// The arguments of linear_decode, checked; null for what is absent.
struct LinearProblem {
  WeightFormat format;
  int64_t outputs, inputs, group;
  const void* values;
  const float* scales;
  const float* x;  // (B, I)
  int64_t batch;
  const float* norm_weight;
  const float* norm_bias;
  float norm_epsilon;
  const float* bias;
  Activation activation;
  const float* residual;  // as y
  float* y;               // (B, O), or (B, O / 2) for the gated: written
};

void linear_decode(const LinearProblem& problem);

// Its parts, on the calling thread, for code that has threads of its own.

/// Rows of float32, `stride` apart.
struct Rows {
  const float* data;
  int64_t stride;
};

constexpr int64_t num_panels(const LinearProblem& problem) {
  return (problem.outputs + kPanel - 1) / kPanel;
}

/// Whether the rows of x must be written anew: normalised, or padded to an even size.
bool needs_preparation(const LinearProblem& problem);

/// From one prepared row to the next: the inputs, even.
constexpr int64_t prepared_stride(const LinearProblem& problem) {
  return problem.inputs + problem.inputs % 2;
}

/// Normalises and pads the rows of x into `target` (B, prepared_stride).
void prepare_rows(const LinearProblem& problem, float* target);

/// Panels first .. last-1 of the outputs into y, from x or the prepared rows; not for gated activations.
void multiply_panels(const LinearProblem& problem, const Rows& x, int64_t first, int64_t last);

}  // namespace lexel::kernels::cpu
