#include "kernels/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <cmath>

#include "kernels/check.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements a thread takes at least

void check_arguments(const char* function, const at::Tensor& weights, const at::Tensor& gradient,
                     const at::Tensor& first_moment, const at::Tensor& second_moment,
                     const AdamWOptions& options) {
  check_arg(options.step >= 1, function, "expected a step of at least 1, got ", options.step);
  for (const at::Tensor& x : {weights, gradient, first_moment, second_moment}) {
    check_arg(x.scalar_type() == at::kFloat, function, "expected float32, got ", x.scalar_type());
    check_arg(x.sizes() == weights.sizes(), function, "expected shape ", weights.sizes(), ", got ",
              x.sizes());
    check_arg(x.is_contiguous(), function, "expected contiguous tensors, got strides ",
              x.strides());
    check_arg(x.device() == weights.device(), function, "expected device ", weights.device(),
              ", got ", x.device());
  }
}

/// The loop over one thread's part: plain, without branches, so that the compiler uses vectors.
void update_range(float* __restrict w, const float* __restrict g, float* __restrict m,
                  float* __restrict v, int64_t count, const AdamWOptions& o) {
  const float beta1 = float(o.beta1), beta2 = float(o.beta2);
  const float scale = float(o.gradient_scale), epsilon = float(o.epsilon);
  const float keep = float(1.0 - o.learning_rate * o.weight_decay);
  const float rate = float(o.learning_rate / (1.0 - std::pow(o.beta1, double(o.step))));
  const float correction = float(1.0 / std::sqrt(1.0 - std::pow(o.beta2, double(o.step))));
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = g[i] * scale;
    const float first = beta1 * m[i] + (1.0f - beta1) * gradient;
    const float second = beta2 * v[i] + (1.0f - beta2) * gradient * gradient;
    m[i] = first;
    v[i] = second;
    w[i] = keep * w[i] - rate * first / (std::sqrt(second) * correction + epsilon);
  }
}

/// The same on any device, float32, as a few ATen calls a tensor.
void update_by_aten(const at::Tensor& w, const at::Tensor& gradient, const at::Tensor& m,
                    const at::Tensor& v, const AdamWOptions& o) {
  const at::NoGradGuard no_grad;
  const at::Tensor g = gradient * o.gradient_scale;
  m.lerp_(g, 1.0 - o.beta1);
  v.mul_(o.beta2).addcmul_(g, g, 1.0 - o.beta2);
  const double correction = 1.0 / std::sqrt(1.0 - std::pow(o.beta2, double(o.step)));
  const at::Tensor denominator = v.sqrt().mul_(correction).add_(o.epsilon);
  const double rate = o.learning_rate / (1.0 - std::pow(o.beta1, double(o.step)));
  w.mul_(1.0 - o.learning_rate * o.weight_decay).addcdiv_(m, denominator, -rate);
}

}  // namespace

void adamw_reference_(const at::Tensor& weights, const at::Tensor& gradient,
                      const at::Tensor& first_moment, const at::Tensor& second_moment,
                      const AdamWOptions& o) {
  check_arguments("adamw_reference_", weights, gradient, first_moment, second_moment, o);
  const at::NoGradGuard no_grad;
  const at::Tensor g = gradient.to(at::kDouble) * o.gradient_scale;
  const at::Tensor m = first_moment.to(at::kDouble) * o.beta1 + g * (1.0 - o.beta1);
  const at::Tensor v = second_moment.to(at::kDouble) * o.beta2 + g * g * (1.0 - o.beta2);
  const at::Tensor m_hat = m / (1.0 - std::pow(o.beta1, double(o.step)));
  const at::Tensor v_hat = v / (1.0 - std::pow(o.beta2, double(o.step)));
  const at::Tensor w = weights.to(at::kDouble) * (1.0 - o.learning_rate * o.weight_decay) -
                       m_hat / (v_hat.sqrt() + o.epsilon) * o.learning_rate;
  weights.copy_(w);
  first_moment.copy_(m);
  second_moment.copy_(v);
}

void adamw_(const at::Tensor& weights, const at::Tensor& gradient, const at::Tensor& first_moment,
            const at::Tensor& second_moment, const AdamWOptions& options) {
  check_arguments("adamw_", weights, gradient, first_moment, second_moment, options);
  if (!weights.is_cpu()) {
    update_by_aten(weights, gradient, first_moment, second_moment, options);
    return;
  }
  float* w = weights.mutable_data_ptr<float>();
  const float* g = gradient.const_data_ptr<float>();
  float* m = first_moment.mutable_data_ptr<float>();
  float* v = second_moment.mutable_data_ptr<float>();
  at::parallel_for(0, weights.numel(), kGrain, [&](int64_t begin, int64_t end) {
    update_range(w + begin, g + begin, m + begin, v + begin, end - begin, options);
  });
}

}  // namespace lexel::kernels
