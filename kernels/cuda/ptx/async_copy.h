#pragma once

// cp.async, sm_80 and later: copies from global to shared memory that a thread starts and waits for later. A thread sees
// its own copies after wait_for_copies(); the others see them after a barrier that follows.

#include <cstdint>

#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda::ptx {

/// Starts a copy of 16 bytes, both ends 16-byte aligned; with `inside` false it writes zeros and reads nothing (but
/// `from` must be an address of the array all the same).
__device__ __forceinline__ void start_copy_16(void* to, const void* from, bool inside = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(inside ? 16 : 0)
               : "memory");
}

/// The same of 4 bytes, 4-byte aligned, through L1.
__device__ __forceinline__ void start_copy_4(void* to, const void* from, bool inside = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(inside ? 4 : 0)
               : "memory");
}

/// The copies started since the last call make one group, which may be empty.
__device__ __forceinline__ void close_copy_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most kMayStayOpen of the latest groups are under way.
template <int kMayStayOpen>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kMayStayOpen) : "memory");
}

}  // namespace lexel::kernels::cuda::ptx
