#pragma once

// For .cu files only.

namespace lexel::kernels::cuda {

/// Sum over the block's kThreads threads, in a fixed order; thread 0 gets it. All threads call it.
template <int kThreads>
__device__ double block_sum(double value) {
  static_assert(kThreads % 32 == 0 && kThreads <= 1024);
  __shared__ double of_warp[kThreads / 32];
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(0xFFFFFFFFU, value, lanes);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  double total = 0.0;
  if (threadIdx.x == 0) {
    for (int warp = 0; warp < kThreads / 32; ++warp) total += of_warp[warp];
  }
  __syncthreads();
  return total;
}

}  // namespace lexel::kernels::cuda
