// liblexel_cuda.so: the table that device.cpp asks for. Each kernel's glue between tensors and launches is in its own file.

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDAFunctions.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/gpu_stopwatch.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

int device_count() {
  return at::detail::getCUDAHooks().hasCUDART() ? c10::cuda::device_count() : kLoadedTooLate;
}

}  // namespace
}  // namespace lexel::kernels

extern "C" const lexel::kernels::CudaKernels* lexel_cuda_kernels() {
  // The stopwatch is not in make_table: the emulator has no clock.
  static const lexel::kernels::CudaKernels table = [] {
    lexel::kernels::CudaKernels made =
        lexel::kernels::cuda::make_table(lexel::kernels::device_count);
    made.make_stopwatch = lexel::kernels::cuda::make_stopwatch;
    made.describe_gpu = lexel::kernels::cuda::describe_gpu;
    return made;
  }();
  return &table;
}
