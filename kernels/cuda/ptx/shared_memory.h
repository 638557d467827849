#pragma once

// For .cu files. Each header of this folder wraps a few PTX instructions; tests/cuda_emulator/kernels/cuda/ptx/ holds twins of
// the same names that say in C++ what the instructions do, for machines without a GPU. Source: PTX ISA 9.0.

#include <cstdint>

namespace lexel::kernels::cuda::ptx {

/// The block's dynamic shared memory, LaunchShape::shared_bytes of it, aligned to 1024 bytes.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char lexel_dynamic_shared[];
  return reinterpret_cast<T*>(lexel_dynamic_shared);
}

/// Address in the shared window, as instructions want it.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

}  // namespace lexel::kernels::cuda::ptx
