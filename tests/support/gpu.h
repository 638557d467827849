#pragma once

#include "kernels/device.h"

namespace lexel::tests {

/// Whether this machine has a GPU and this build its plugin. Known before main, because LibTorch must meet its CUDA
/// half before the first work with tensors. Without: GTEST_SKIP, never a pass.
inline const bool kHasGpu = resolve_device("auto").is_cuda();

}  // namespace lexel::tests
