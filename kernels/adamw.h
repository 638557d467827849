#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <span>

namespace lexel::kernels {

struct AdamWOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
  double gradient_scale = 1.0;  // multiplies the gradient first: what clipping by norm needs
  int64_t step = 1;  // number of this update, from 1: corrects the moments' start at zero
};

/// One tensor of a step, its state (8 bytes a weight) and its options.
struct AdamWUpdate {
  at::Tensor weights, gradient, first_moment, second_moment;
  AdamWOptions options;
};

/// One AdamW update in place: with g the scaled gradient,
///   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
///   w = w (1 - lr weight_decay) - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + epsilon).
/// A gradient that is not finite makes the weight and its moments so.
///
/// weights, gradient, first_moment, second_moment   one shape, float32, contiguous, one device
/// throws   Error(kUsage) on another dtype, shape, layout or device, or step < 1
/// source   Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2
void adamw_(const at::Tensor& weights, const at::Tensor& gradient, const at::Tensor& first_moment,
            const at::Tensor& second_moment, const AdamWOptions& options);

/// The same for all tensors of a model in one pass, which spares what a pass costs to start: on CUDA one launch for up to
/// 48 tensors. No two updates may share storage.
///
/// throws   as above, before anything is changed; or when the updates lie on several devices
void adamw_(std::span<const AdamWUpdate> updates);

/// The meaning of adamw_: float64 throughout, in ATen; same arguments.
void adamw_reference_(const at::Tensor& weights, const at::Tensor& gradient,
                      const at::Tensor& first_moment, const at::Tensor& second_moment,
                      const AdamWOptions& options);

}  // namespace lexel::kernels
