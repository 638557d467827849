#pragma once

// The emulator's twins of kernels/cuda/ptx/: same names, the meaning in C++.

#include <cstdint>
#include <cuda_runtime.h>

#include "kernels/check.h"
#include "tests/cuda_emulator/block.h"

namespace lexel::kernels::cuda::ptx {

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(cuda_emulator::dynamic_shared_memory());
}

/// Addresses that an instruction wants aligned.
inline void expect_aligned(const void* p, unsigned bytes, const char* what) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) {
    cuda_emulator::fail_kernel(concat(what, ": an address that is not ", bytes, "-byte aligned"));
  }
}

}  // namespace lexel::kernels::cuda::ptx
