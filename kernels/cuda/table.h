#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace lexel::kernels {

/// How kernels/*.cpp reach CUDA: the functions of liblexel_cuda.so. Arguments are checked by the caller and lie on one
/// device; results are allocated by the caller; work goes to that device's current stream.
struct CudaKernels {
  int64_t version;        // kCudaKernelsVersion of the plugin
  int (*device_count)();  // GPUs that LibTorch can use, or kLoadedTooLate
  void (*codebook_lookup)(const at::Tensor& rows, const at::Tensor& codes, bool l2, at::Tensor& ids,
                          at::Tensor& score);
};

/// Raised with every change of the struct: a plugin of another build is refused.
constexpr int64_t kCudaKernelsVersion = 1;

/// LibTorch asks once whether it has a CUDA half (for one, at the first backward pass) and keeps the answer; a plugin
/// that comes later cannot change it.
constexpr int kLoadedTooLate = -1;

/// The plugin exports this function, extern "C", returning const CudaKernels*.
constexpr const char* kCudaKernelsSymbol = "lexel_cuda_kernels";

/// The table; the first call loads the plugin (and libtorch_cuda with it).
///
/// throws   Error(kUnsupported) when there is no plugin, or it cannot be loaded
const CudaKernels& cuda_kernels();

}  // namespace lexel::kernels
