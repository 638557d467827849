#include "kernels/adafactor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <cmath>

#include "kernels/adafactor_part.h"
#include "kernels/check.h"
#include "kernels/cpu/adafactor.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {

static_assert(kAdafactorScaleSpan == kAdafactorBlock);

namespace {

int64_t columns_of(const at::Tensor& weights) { return weights.dim() == 0 ? 1 : weights.size(-1); }

int64_t rows_of(const at::Tensor& weights) {
  int64_t rows = 1;
  for (int64_t d = 0; d + 1 < weights.dim(); ++d) rows *= weights.size(d);
  return rows;
}

int64_t blocks_of(const at::Tensor& weights) {
  return (weights.numel() + kAdafactorBlock - 1) / kAdafactorBlock;
}

void check_tensor(const char* function, const char* name, const at::Tensor& x,
                  const at::Tensor& weights, at::ScalarType dtype, at::IntArrayRef shape) {
  check_arg(x.defined(), function, "expected ", name, ", got an undefined tensor");
  check_arg(x.scalar_type() == dtype, function, "expected ", name, " of ", dtype, ", got ",
            x.scalar_type());
  check_arg(x.sizes() == shape, function, "expected ", name, " of shape ", shape, ", got ",
            x.sizes());
  check_arg(x.is_contiguous(), function, "expected contiguous ", name, ", got strides ",
            x.strides());
  check_arg(x.device() == weights.device(), function, "expected ", name, " on ", weights.device(),
            ", got ", x.device());
}

void check_arguments(const char* function, const at::Tensor& weights, const at::Tensor& gradient,
                     const AdafactorState& state, const AdafactorOptions& options) {
  check_arg(options.step >= 1, function, "expected a step of at least 1, got ", options.step);
  check_arg(options.clip_threshold >= 0, function, "expected clip_threshold >= 0, got ",
            options.clip_threshold);
  check_arg(weights.defined() && (weights.is_cpu() || weights.is_cuda()), function,
            "expected weights on CPU or CUDA");
  const at::IntArrayRef shape = weights.sizes();
  check_tensor(function, "weights", weights, weights, at::kFloat, shape);
  check_tensor(function, "gradient", gradient, weights, at::kFloat, shape);
  const bool int8 = state.first_moment.defined() && state.first_moment.scalar_type() == at::kChar;
  check_tensor(function, "first_moment", state.first_moment, weights, int8 ? at::kChar : at::kFloat,
               shape);
  if (int8) {
    check_tensor(function, "first_scales", state.first_scales, weights, at::kFloat,
                 {blocks_of(weights)});
  }
  check_tensor(function, "row_factor", state.row_factor, weights, at::kFloat, {rows_of(weights)});
  check_tensor(function, "column_factor", state.column_factor, weights, at::kFloat,
               {columns_of(weights)});
}

double corrected_beta2(const AdafactorOptions& o) {
  const auto step = static_cast<double>(o.step);
  return o.beta2 * (1.0 - std::pow(o.beta2, step - 1.0)) / (1.0 - std::pow(o.beta2, step));
}

/// A function's arguments, checked, as the CPU and CUDA code take them.
AdafactorPart part_of(const at::Tensor& gradient, AdafactorState& state,
                      const AdafactorWhole& whole, const AdafactorOptions& o) {
  const bool int8 = state.first_moment.scalar_type() == at::kChar;
  return {.rows = rows_of(gradient),
          .columns = columns_of(gradient),
          .whole_rows = whole.rows,
          .whole_columns = whole.columns,
          .weights = nullptr,
          .gradient = gradient.const_data_ptr<float>(),
          .first_moment = int8 ? nullptr : state.first_moment.mutable_data_ptr<float>(),
          .first_moment_int8 = int8 ? state.first_moment.mutable_data_ptr<int8_t>() : nullptr,
          .first_scales = int8 ? state.first_scales.mutable_data_ptr<float>() : nullptr,
          .row_factor = state.row_factor.mutable_data_ptr<float>(),
          .column_factor = state.column_factor.mutable_data_ptr<float>(),
          .gradient_scale = static_cast<float>(o.gradient_scale),
          .beta1 = static_cast<float>(o.beta1),
          .one_minus_beta1 = static_cast<float>(1.0 - o.beta1),
          .keep = static_cast<float>(1.0 - o.learning_rate * o.weight_decay),
          .rate = static_cast<float>(o.learning_rate),
          .beta2 = corrected_beta2(o),
          .epsilon = o.epsilon,
          .clip_threshold = o.clip_threshold};
}

void check_whole(const char* function, const at::Tensor& gradient, const AdafactorWhole& whole) {
  check_arg(whole.rows >= rows_of(gradient) && whole.columns >= columns_of(gradient), function,
            "expected a part of a matrix of ", whole.rows, " x ", whole.columns, ", got ",
            gradient.sizes());
}

/// (blocks, 128) float64: a flat tensor cut into the blocks of the int8 first moment, zeros at the end.
at::Tensor in_blocks(const at::Tensor& x) {
  const at::Tensor flat = x.reshape({-1}).to(at::kDouble);
  const int64_t rest = (kAdafactorBlock - flat.numel() % kAdafactorBlock) % kAdafactorBlock;
  return at::constant_pad_nd(flat, {0, rest}).reshape({-1, kAdafactorBlock});
}

}  // namespace

AdafactorState make_adafactor_state(const at::Tensor& weights, bool int8_first_moment) {
  check_arg(weights.defined() && weights.scalar_type() == at::kFloat, "make_adafactor_state",
            "expected float32 weights");
  const auto options = weights.options().requires_grad(false);
  AdafactorState state;
  state.first_moment =
      at::zeros(weights.sizes(), options.dtype(int8_first_moment ? at::kChar : at::kFloat));
  if (int8_first_moment) state.first_scales = at::zeros({blocks_of(weights)}, options);
  state.row_factor = at::zeros({rows_of(weights)}, options);
  state.column_factor = at::zeros({columns_of(weights)}, options);
  return state;
}

void adafactor_reference_(const at::Tensor& weights, const at::Tensor& gradient,
                          AdafactorState& state, const AdafactorOptions& o) {
  check_arguments("adafactor_reference_", weights, gradient, state, o);
  if (weights.numel() == 0) return;
  const at::NoGradGuard no_grad;
  const int64_t rows = rows_of(weights), columns = columns_of(weights);
  const double b = corrected_beta2(o);
  const at::Tensor g = gradient.to(at::kDouble).reshape({rows, columns}) * o.gradient_scale;
  const at::Tensor s = g.square() + o.epsilon;
  const at::Tensor row = state.row_factor.to(at::kDouble) * b + s.mean(1) * (1.0 - b);        // (R)
  const at::Tensor column = state.column_factor.to(at::kDouble) * b + s.mean(0) * (1.0 - b);  // (C)
  at::Tensor u = g / (row.unsqueeze(1) * column / row.mean()).sqrt();  // (R, C)
  if (o.clip_threshold > 0) {
    const at::Tensor excess = u.square().mean().sqrt() / o.clip_threshold;
    u = u / at::where(excess <= 1.0, 1.0, excess);
  }
  u = u.reshape(weights.sizes());
  const bool int8 = state.first_moment.scalar_type() == at::kChar;
  at::Tensor m = state.first_moment.to(at::kDouble);
  if (int8) {
    m = (in_blocks(m) * state.first_scales.to(at::kDouble).unsqueeze(1))
            .reshape({-1})
            .narrow(0, 0, weights.numel())
            .reshape(weights.sizes());
  }
  m = m * o.beta1 + u * (1.0 - o.beta1);
  weights.copy_(weights.to(at::kDouble) * (1.0 - o.learning_rate * o.weight_decay) -
                m * o.learning_rate);
  state.row_factor.copy_(row);
  state.column_factor.copy_(column);
  if (!int8) {
    state.first_moment.copy_(m);
    return;
  }
  const at::Tensor blocks = in_blocks(m);                                    // (blocks, 128)
  const at::Tensor scales = blocks.abs().amax({1}, /*keepdim=*/true) / 127;  // (blocks, 1)
  const at::Tensor whole = (blocks / at::where(scales > 0, scales, 1.0)).round();
  state.first_moment.copy_(
      whole.reshape({-1}).narrow(0, 0, weights.numel()).reshape(weights.sizes()));
  state.first_scales.copy_(scales.squeeze(1));
}

void adafactor_(const at::Tensor& weights, const at::Tensor& gradient, AdafactorState& state,
                const AdafactorOptions& o) {
  check_arguments("adafactor_", weights, gradient, state, o);
  if (weights.numel() == 0) return;
  AdafactorPart part = part_of(gradient, state, {rows_of(weights), columns_of(weights)}, o);
  part.weights = weights.mutable_data_ptr<float>();
  if (const CudaKernels* const cuda = cuda_kernels_for(weights)) {
    cuda->adafactor(weights, part);
  } else {
    cpu::adafactor(part);
  }
}

at::Tensor adafactor_squares(const at::Tensor& gradient) {
  check_arg(gradient.defined() && (gradient.is_cpu() || gradient.is_cuda()), "adafactor_squares",
            "expected a gradient on CPU or CUDA");
  check_tensor("adafactor_squares", "gradient", gradient, gradient, at::kFloat, gradient.sizes());
  AdafactorPart part{};
  part.rows = rows_of(gradient);
  part.columns = columns_of(gradient);
  const at::Tensor sums =
      at::zeros({part.rows + part.columns}, gradient.options().dtype(at::kDouble));
  if (gradient.numel() == 0) return sums;
  part.gradient = gradient.const_data_ptr<float>();
  if (const CudaKernels* const cuda = cuda_kernels_for(gradient)) {
    cuda->adafactor_squares(gradient, part, sums.mutable_data_ptr<double>());
  } else {
    cpu::adafactor_squares(part, sums.mutable_data_ptr<double>());
  }
  return sums;
}

at::Tensor adafactor_factors_(const at::Tensor& gradient, const at::Tensor& squares,
                              AdafactorState& state, const AdafactorWhole& whole,
                              const AdafactorOptions& o) {
  constexpr const char* kName = "adafactor_factors_";
  check_arguments(kName, gradient, gradient, state, o);
  check_whole(kName, gradient, whole);
  check_tensor(kName, "squares", squares, gradient, at::kDouble,
               {rows_of(gradient) + columns_of(gradient)});
  const at::Tensor totals = at::zeros({2}, squares.options());
  if (gradient.numel() == 0) return totals;
  const AdafactorPart part = part_of(gradient, state, whole, o);
  if (const CudaKernels* const cuda = cuda_kernels_for(gradient)) {
    cuda->adafactor_factors(gradient, part, squares.const_data_ptr<double>(),
                            totals.mutable_data_ptr<double>());
  } else {
    cpu::adafactor_factors(part, squares.const_data_ptr<double>(),
                           totals.mutable_data_ptr<double>());
  }
  return totals;
}

void adafactor_update_(const at::Tensor& weights, const at::Tensor& gradient,
                       const at::Tensor& totals, AdafactorState& state, const AdafactorWhole& whole,
                       const AdafactorOptions& o) {
  constexpr const char* kName = "adafactor_update_";
  check_arguments(kName, weights, gradient, state, o);
  check_whole(kName, gradient, whole);
  check_tensor(kName, "totals", totals, weights, at::kDouble, {2});
  if (weights.numel() == 0) return;
  AdafactorPart part = part_of(gradient, state, whole, o);
  part.weights = weights.mutable_data_ptr<float>();
  if (const CudaKernels* const cuda = cuda_kernels_for(weights)) {
    cuda->adafactor_update(weights, part, totals.const_data_ptr<double>());
  } else {
    cpu::adafactor_update(part, totals.const_data_ptr<double>());
  }
}

}  // namespace lexel::kernels
