#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

constexpr int64_t kLaplaceRun = 4096;  // values of a picture that a block takes

struct LogitLaplaceArguments {
  const float* maps;    // (pictures, 2, values): mu and ln b
  const float* images;  // (pictures, values)
  int64_t pictures, values;
  double* sums;     // scratch: (pictures ceil(values / kLaplaceRun))
  float* gradient;  // (pictures, 2, values), written; null: not wanted
  float* loss;      // one value, written
};

/// throws   Error(kInternal) when a launch fails
void launch_logit_laplace(const LogitLaplaceArguments& arguments, Stream stream);

}  // namespace lexel::kernels::cuda
