#pragma once

// In place of CUDA's header of this name: what our .cu files use of it, on the CPU.

#include <cstring>
#include <functional>
#include <string>
#include <tuple>

#include "tests/cuda_emulator/arithmetic.h"
#include "tests/cuda_emulator/block.h"
#include "tests/cuda_emulator/language.h"
#include "tests/cuda_emulator/threads.h"

struct CUstream_st;
using cudaStream_t = CUstream_st*;

enum cudaError_t { cudaSuccess = 0, cudaErrorLaunchFailure = 719 };

enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize,
  cudaFuncAttributePreferredSharedMemoryCarveout
};

enum cudaLaunchAttributeID {
  cudaLaunchAttributeNone,
  cudaLaunchAttributeClusterDimension,
};

struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

namespace lexel::cuda_emulator {
inline std::string& last_error() {
  static std::string text;
  return text;
}
}  // namespace lexel::cuda_emulator

inline const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaSuccess ? "no error" : lexel::cuda_emulator::last_error().c_str();
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

/// Runs the kernel to its end. Its errors (a deadlock, say) come back as launch failures; cudaGetErrorString explains.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  namespace emulator = lexel::cuda_emulator;
  const std::tuple<Parameters...> values(static_cast<Arguments&&>(arguments)...);
  emulator::Grid grid;
  grid.blocks = {config->gridDim.x, config->gridDim.y, config->gridDim.z};
  grid.threads = {config->blockDim.x, config->blockDim.y, config->blockDim.z};
  grid.shared_bytes = config->dynamicSmemBytes;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension &&
        config->gridDim.x % config->attrs[i].val.clusterDim.x != 0) {
      emulator::last_error() = "the grid is not made of whole clusters";
      return cudaErrorLaunchFailure;
    }
  }
  emulator::last_error() = emulator::run_grid(grid, [&] { std::apply(kernel, values); });
  return emulator::last_error().empty() ? cudaSuccess : cudaErrorLaunchFailure;
}

inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}
