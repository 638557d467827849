// liblexel_cuda.so: the glue between tensors and the launch functions, and the table that device.cpp asks for.

#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

int device_count() {
  return at::detail::getCUDAHooks().hasCUDART() ? c10::cuda::device_count() : kLoadedTooLate;
}

void codebook_lookup(const at::Tensor& rows, const at::Tensor& codes, bool l2, at::Tensor& ids,
                     at::Tensor& score) {
  const c10::cuda::CUDAGuard guard(rows.device());
  const at::Tensor bias = at::empty({codes.size(0)}, rows.options());  // (K)
  cuda::launch_codebook_lookup(
      {rows.const_data_ptr<float>(), codes.const_data_ptr<float>(), rows.size(0), codes.size(0),
       rows.size(1), l2, bias.mutable_data_ptr<float>(), ids.mutable_data_ptr<int64_t>(),
       score.mutable_data_ptr<float>()},
      c10::cuda::getCurrentCUDAStream().stream());
}

constexpr CudaKernels kTable = {kCudaKernelsVersion, device_count, codebook_lookup};

}  // namespace
}  // namespace lexel::kernels

extern "C" const lexel::kernels::CudaKernels* lexel_cuda_kernels() {
  return &lexel::kernels::kTable;
}
