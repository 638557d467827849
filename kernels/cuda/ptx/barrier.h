#pragma once

// Barriers in shared memory, bulk copies that report to them, and barriers of some warps: sm_90 and later, but the last two
// functions, for all. Call what needs sm_90a under #if defined(__CUDA_ARCH_FEAT_SM90_ALL).

#include <cstdint>

#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda::ptx {

/// An mbarrier, in shared memory. Its phases end one after another, each when `count` arrivals have come and all bytes that
/// were announced have landed; wait_for(b, p) lasts until the phase of parity p has ended, where the first phase has parity
/// 0. So a consumer of a ring starts with parity 0, and a producer that waits for free places with parity 1.
struct Barrier {
  uint64_t state;
};

/// By one thread; then fence_barriers(), then __syncthreads().
__device__ __forceinline__ void set_up(Barrier* barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
               : "memory");
}

__device__ __forceinline__ void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

/// Arrives, and announces so many bytes of bulk copies.
__device__ __forceinline__ void arrive_expecting(Barrier* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}

__device__ __forceinline__ void wait_for(Barrier* barrier, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}\n"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  }
}

/// Starts a copy of so many bytes, a multiple of 16, both ends 16-byte aligned, from global to shared memory; it reports to
/// the barrier. By one thread.
__device__ __forceinline__ void start_bulk_copy(void* to, const void* from, uint32_t bytes,
                                                Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

/// Counts as an arrival of this thread once all copies that it has started with start_copy_16 and start_copy_4 have
/// landed. Do not mix it with wait_for_copies. Tensor cores read what came so after a fence_async_proxy() behind wait_for().
__device__ __forceinline__ void arrive_when_copied(Barrier* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

/// Between ordinary writes to shared memory and the tensor cores' or copy engine's use of it.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// All threads of a warpgroup give registers back, or take them; a multiple of 8 in 24..240. sm_90a.
template <int kRegisters>
__device__ __forceinline__ void lower_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void raise_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// bar.sync: barrier `id`, 1..15, of `count` threads, a multiple of 32. Barrier 0 is __syncthreads.
__device__ __forceinline__ void meet(int id, int count) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}

/// bar.arrive: counts for the barrier, and does not wait.
__device__ __forceinline__ void announce(int id, int count) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(count) : "memory");
}

}  // namespace lexel::kernels::cuda::ptx
