#pragma once

// Twin of kernels/cuda/ptx/async_copy.h. A copy is made when the wait leaves no choice, not before: who reads too early finds
// what was there.

#include <cstring>

#include "kernels/cuda/ptx/shared_memory.h"
#include "tests/cuda_emulator/block.h"

namespace lexel::kernels::cuda::ptx {

template <int kBytes>
void start_copy(void* to, const void* from, bool inside) {
  expect_aligned(to, kBytes, "cp.async");
  if (inside) expect_aligned(from, kBytes, "cp.async");
  cuda_emulator::start_in_group([=] {
    if (inside) {
      std::memcpy(to, from, kBytes);
    } else {
      std::memset(to, 0, kBytes);
    }
  });
}

inline void start_copy_16(void* to, const void* from, bool inside = true) {
  start_copy<16>(to, from, inside);
}
inline void start_copy_4(void* to, const void* from, bool inside = true) {
  start_copy<4>(to, from, inside);
}

inline void close_copy_group() { cuda_emulator::close_group(); }

template <int kMayStayOpen>
void wait_for_copies() {
  cuda_emulator::wait_for_groups(kMayStayOpen);
}

}  // namespace lexel::kernels::cuda::ptx
