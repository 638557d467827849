#pragma once

#include "kernels/gpu_stopwatch.h"

namespace lexel::kernels::cuda {

GpuStopwatch make_stopwatch(at::Device device, std::function<void()> work);
GpuDescription describe_gpu(at::Device device);

}  // namespace lexel::kernels::cuda
