#pragma once

#include <cstdint>

namespace lexel::kernels {

constexpr int64_t kAdafactorBlock = 128;  // weights that share a scale of the int8 first moment

/// The arguments of adafactor_ and its stages as the CPU and CUDA code take them: pointers, null where a stage does not use them, and factors
/// worked out in float64.
struct AdafactorPart {
  int64_t rows, columns;  // R, C: here
  int64_t whole_rows,
      whole_columns;  // of the matrix that this may be a part of: what means are over
  float* weights;     // (R, C)
  const float* gradient;
  float* first_moment;        // (R, C), or null
  int8_t* first_moment_int8;  // (R, C), or null
  float* first_scales;        // with int8: (ceil(R C / 128))
  float* row_factor;          // (R)
  float* column_factor;       // (C)
  float gradient_scale;
  float beta1, one_minus_beta1;
  float keep;  // 1 - lr weight_decay
  float rate;
  double beta2;  // the corrected one
  double epsilon;
  double clip_threshold;  // 0: none
};

}  // namespace lexel::kernels
