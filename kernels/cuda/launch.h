#pragma once

// For .cu files only: the one way to start a kernel. An ordinary call in place of <<<>>>, so that a C++ compiler can read the
// file too (tests/cuda_emulator runs it without a GPU).

#include <cstddef>
#include <cstdint>
#include <cuda_runtime.h>

#include "kernels/check.h"
#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

struct LaunchShape {
  dim3 grid, block;
  std::size_t shared_bytes = 0;  // dynamic; past 48 KiB the kernel is told so
  unsigned cluster = 1;          // blocks of a cluster, along x
};

inline void check_cuda(cudaError_t status, const char* kernel) {
  check(status == cudaSuccess, ErrorKind::kInternal, kernel, ": ", cudaGetErrorString(status));
}

/// Starts a kernel on a stream and returns at once.
///
/// throws   Error(kInternal) with CUDA's words when the launch fails
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Stream stream, const Arguments&... arguments) {
  constexpr std::size_t kPlainSharedBytes = 48 * 1024;
  if (shape.shared_bytes > kPlainSharedBytes) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               name);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute cluster{};
  if (shape.cluster > 1) {
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = shape.cluster;
    cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = 1;
    config.attrs = &cluster;
    config.numAttrs = 1;
  }
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace lexel::kernels::cuda
