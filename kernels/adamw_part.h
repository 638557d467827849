#pragma once

#include <cstdint>

namespace lexel::kernels {

/// An AdamWUpdate as the CPU and CUDA code take it: pointers, and the options' factors worked out in float64.
struct AdamWPart {
  float* weights;  // (count) each
  const float* gradient;
  float* first_moment;
  float* second_moment;
  int64_t count;
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float keep;        // 1 - lr weight_decay
  float rate;        // lr / (1 - beta1^step)
  float correction;  // 1 / sqrt(1 - beta2^step)
  float epsilon;
};

}  // namespace lexel::kernels
