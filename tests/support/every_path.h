#pragma once

#include <ATen/core/Tensor.h>

#include "tests/support/emulated_cuda.h"
#include "tests/support/gpu.h"
#include "tests/support/kernel_paths.h"

namespace lexel::tests {

/// Runs `check(device)` once with each instruction set of this machine, once on emulated CUDA, and once on the GPU if there
/// is one. Link lexel_cuda_emulator.
template <class Check>
void on_every_path(Check&& check) {
  on_every_target([&] { check(at::Device(at::kCPU)); });
  {
    SCOPED_TRACE("emulated CUDA");
    const OnEmulatedCuda emulated;
    check(at::Device(at::kCPU));
  }
  if (kHasGpu) {
    SCOPED_TRACE("GPU");
    check(at::Device(at::kCUDA));
  }
}

}  // namespace lexel::tests
