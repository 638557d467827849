#pragma once

// For .cu files.

namespace lexel::kernels::cuda::ptx {

/// 2^x within 2 ulp of the result, 0 where that is below 2^-126; one instruction.
__device__ __forceinline__ float exp2_fast(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

}  // namespace lexel::kernels::cuda::ptx
