#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace lexel::kernels {

/// Consecutive weights of a tensor that share a scale of the int8 first moment.
constexpr int64_t kAdafactorScaleSpan = 128;

struct AdafactorOptions {
  double learning_rate = 4.5e-5;
  double beta1 = 0.9;
  double beta2 = 0.96;  // corrected for the start at zero: beta2 (1 - beta2^(t-1)) / (1 - beta2^t)
  double epsilon = 1e-30;        // added to the squared gradient
  double clip_threshold = 1.0;   // largest root mean square of an update, before the rate; 0: none
  double weight_decay = 4.5e-2;  // decoupled, times the learning rate
  double gradient_scale = 1.0;   // multiplies the gradient first: what clipping by norm needs
  int64_t step = 1;              // number of this update, from 1
};

/// What Adafactor remembers of one tensor. With R rows (all dimensions but the last) and C columns: 4 (R + C) bytes for
/// the second moment, and for the first 4 bytes a weight, or 1.03 as int8. A tensor of one dimension is one row, and
/// column_factor its second moment whole.
struct AdafactorState {
  at::Tensor first_moment;  // shape of the weights, float32 or int8
  at::Tensor
      first_scales;  // int8 only: (ceil(numel / 128)) float32, one for each kAdafactorScaleSpan weights
  at::Tensor row_factor;     // (R) float32: running mean of g^2 over columns
  at::Tensor column_factor;  // (C) float32: running mean of g^2 over rows
};

/// A state of zeros for weights of this shape and device.
AdafactorState make_adafactor_state(const at::Tensor& weights, bool int8_first_moment);

/// One Adafactor update in place: with g the scaled gradient and s = g^2 + epsilon,
///   row = b row + (1 - b) mean_columns(s),  column = b column + (1 - b) mean_rows(s),  b the corrected beta2,
///   v = row column / mean(row),  u = g / sqrt(v),  u = u / max(1, rms(u) / clip_threshold),
///   m = beta1 m + (1 - beta1) u,  w = w (1 - lr weight_decay) - lr m.
/// An int8 first moment is rounded after the step: scale = max |m| / 127 of its 128, nearest, ties to even; the step uses
/// the unrounded m. Sums are taken in an order that does not depend on threads. One gradient that is not finite makes
/// the whole tensor and its state so.
///
/// weights, gradient   one shape, float32, contiguous, one device; numel may be 0
/// throws   Error(kUsage) on another dtype, shape, layout or device, a state of other weights, or step < 1
/// source   Shazeer and Stern 2018, arXiv:1804.04235, algorithm 4; int8 first moment: Yu et al. 2021,
///          arXiv:2110.04627, section 5.2 (which says neither block nor rounding: both are ours)
void adafactor_(const at::Tensor& weights, const at::Tensor& gradient, AdafactorState& state,
                const AdafactorOptions& options);

/// Rows and columns of a whole matrix, of which a tensor here may hold some rows, or some columns.
struct AdafactorWhole {
  int64_t rows = 0, columns = 0;
};

/// The stages of adafactor_, for a matrix that is cut: each who holds a part calls all three, and between them adds up what the parts found.
/// The update is that of the whole matrix; a factor of the dimension that is cut is a part of the whole one. On a matrix that is not cut the
/// three together are adafactor_, with more memory traffic for its rows and columns.
///
/// gradient  as in adafactor_, of this part: R rows, C columns
/// returns   (R + C) float64: sums of g^2 along each row, then along each column, of the gradient as it is (gradient_scale does not count).
///           To be added up over the parts: the first R where columns are cut, the last C where rows are
/// throws    every stage: Error(kUsage) as adafactor_
at::Tensor adafactor_squares(const at::Tensor& gradient);

/// The second stage: the factors of this part become the new ones.
///
/// squares   (R + C) float64, added up
/// returns   (2) float64: the sum of the row factors here, and of (u / sqrt(mean(row)))^2, u before clipping; 0 where clip_threshold is.
///           To be added up over the parts: the first where rows are cut, the second in any case
at::Tensor adafactor_factors_(const at::Tensor& gradient, const at::Tensor& squares,
                              AdafactorState& state, const AdafactorWhole& whole,
                              const AdafactorOptions& options);

/// The third stage: the update of this part.
///
/// totals    (2) float64, added up
void adafactor_update_(const at::Tensor& weights, const at::Tensor& gradient,
                       const at::Tensor& totals, AdafactorState& state, const AdafactorWhole& whole,
                       const AdafactorOptions& options);

/// The meaning of adafactor_: float64 throughout, in ATen; same arguments.
void adafactor_reference_(const at::Tensor& weights, const at::Tensor& gradient,
                          AdafactorState& state, const AdafactorOptions& options);

}  // namespace lexel::kernels
