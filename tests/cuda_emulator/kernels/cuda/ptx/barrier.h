#pragma once

// Twin of kernels/cuda/ptx/barrier.h. Bulk copies land at random times, at the latest when all threads wait.

#include <cstdint>
#include <cstring>

#include "kernels/cuda/ptx/shared_memory.h"
#include "tests/cuda_emulator/block.h"

namespace lexel::kernels::cuda::ptx {

struct alignas(8) Barrier {
  uint16_t count;
  uint16_t pending : 15;
  uint16_t phase : 1;
  int32_t bytes;  // announced and not yet landed; below 0 when they land first
};

constexpr uint16_t kNoBarrier = 0xFFFF;  // what the emulator fills shared memory with

inline void expect_set_up(const Barrier* barrier) {
  if (barrier->count == kNoBarrier) cuda_emulator::fail_kernel("an mbarrier that nobody set up");
}

inline void end_phase_if_complete(Barrier* barrier) {
  if (barrier->pending != 0 || barrier->bytes != 0) return;
  barrier->phase ^= 1;
  barrier->pending = barrier->count & 0x7FFFU;
}

inline void set_up(Barrier* barrier, uint32_t count) {
  expect_aligned(barrier, 8, "mbarrier");
  barrier->count = static_cast<uint16_t>(count);
  barrier->pending = count & 0x7FFFU;
  barrier->phase = 0;
  barrier->bytes = 0;
}

inline void fence_barriers() {}

inline void arrive(Barrier* barrier) {
  expect_set_up(barrier);
  if (barrier->pending == 0) cuda_emulator::fail_kernel("more arrivals than the mbarrier awaits");
  barrier->pending -= 1;
  end_phase_if_complete(barrier);
}

inline void arrive_expecting(Barrier* barrier, uint32_t bytes) {
  barrier->bytes += static_cast<int32_t>(bytes);
  arrive(barrier);
}

inline void wait_for(Barrier* barrier, uint32_t parity,
                     cuda_emulator::Site site = cuda_emulator::Site::current()) {
  expect_set_up(barrier);
  if (parity == 0) {
    cuda_emulator::wait_until(
        [](const void* b) { return static_cast<const Barrier*>(b)->phase != 0; }, barrier,
        "mbarrier, parity 0,", site);
  } else {
    cuda_emulator::wait_until(
        [](const void* b) { return static_cast<const Barrier*>(b)->phase == 0; }, barrier,
        "mbarrier, parity 1,", site);
  }
}

inline void start_bulk_copy(void* to, const void* from, uint32_t bytes, Barrier* barrier) {
  expect_set_up(barrier);
  expect_aligned(to, 16, "bulk copy");
  expect_aligned(from, 16, "bulk copy");
  if (bytes % 16 != 0) cuda_emulator::fail_kernel("a bulk copy not of a multiple of 16 bytes");
  cuda_emulator::start_late([=] {
    std::memcpy(to, from, bytes);
    barrier->bytes -= static_cast<int32_t>(bytes);
    end_phase_if_complete(barrier);
  });
}

inline void arrive_when_copied(Barrier* barrier) {
  expect_set_up(barrier);
  cuda_emulator::finish_groups_late([=] { arrive(barrier); });
}

inline void fence_async_proxy() {}

template <int kRegisters>
void lower_registers() {}
template <int kRegisters>
void raise_registers() {}

inline void meet(int id, int count, cuda_emulator::Site site = cuda_emulator::Site::current()) {
  cuda_emulator::meet_named(id, count, true, site);
}
inline void announce(int id, int count, cuda_emulator::Site site = cuda_emulator::Site::current()) {
  cuda_emulator::meet_named(id, count, false, site);
}

}  // namespace lexel::kernels::cuda::ptx
