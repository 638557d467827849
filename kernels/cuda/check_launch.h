#pragma once

#include <cuda_runtime_api.h>

#include "kernels/check.h"

namespace lexel::kernels::cuda {

/// After every <<<>>>: throws Error(kInternal) with CUDA's words when the launch failed.
inline void check_launch(const char* kernel) {
  const cudaError_t status = cudaGetLastError();
  check(status == cudaSuccess, ErrorKind::kInternal, kernel, ": ", cudaGetErrorString(status));
}

}  // namespace lexel::kernels::cuda
