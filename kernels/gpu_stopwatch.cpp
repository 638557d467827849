#include "kernels/gpu_stopwatch.h"

#include "kernels/check.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {

GpuStopwatch make_gpu_stopwatch(at::Device device, std::function<void()> work) {
  check_arg(device.is_cuda(), "make_gpu_stopwatch", "expected a CUDA device, got ", device.str());
  return cuda_kernels().make_stopwatch(device, std::move(work));
}

GpuDescription describe_gpu(at::Device device) {
  check_arg(device.is_cuda(), "describe_gpu", "expected a CUDA device, got ", device.str());
  return cuda_kernels().describe_gpu(device);
}

}  // namespace lexel::kernels
