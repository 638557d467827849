#pragma once

#include <cstdint>

#include "tests/cuda_emulator/block.h"

namespace lexel::tests {

/// While it lives, kernels take CPU tensors to the CUDA code, which runs on the CPU (tests/cuda_emulator/README.md), and
/// at::empty is full of NaNs. Link lexel_cuda_emulator.
class OnEmulatedCuda {
 public:
  /// The capability chooses among the paths: 80 or 90. The seed shuffles the order of threads and blocks.
  explicit OnEmulatedCuda(int capability = 80, uint64_t seed = 1);
  ~OnEmulatedCuda();
  OnEmulatedCuda(const OnEmulatedCuda&) = delete;
  OnEmulatedCuda& operator=(const OnEmulatedCuda&) = delete;

 private:
  cuda_emulator::Settings previous_;
  bool deterministic_before_;
};

}  // namespace lexel::tests
