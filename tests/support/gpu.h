#pragma once

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "kernels/device.h"
#include "tests/support/random_tensor.h"

namespace lexel::tests {

/// Whether this machine has a GPU and this build its plugin. Known before main, because LibTorch must meet its CUDA
/// half before the first work with tensors. Without: GTEST_SKIP, never a pass.
inline const bool kHasGpu = resolve_device("auto").is_cuda();

/// What tests/gpu asks of each test program: --gtest_random_seed=N gives other random inputs than the usual ones, and on
/// a GPU at::empty gives NaNs (the largest integer), so that an output that nobody wrote shows.
class GpuConditions : public ::testing::Environment {
 public:
  void SetUp() override {
    fresh_seed = uint64_t{1000003} * static_cast<uint64_t>(GTEST_FLAG_GET(random_seed));
    ::testing::Test::RecordProperty("gpu", kHasGpu ? "yes" : "no");
    if (kHasGpu) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  }
};
inline ::testing::Environment* const kGpuConditions =
    ::testing::AddGlobalTestEnvironment(new GpuConditions);

}  // namespace lexel::tests
