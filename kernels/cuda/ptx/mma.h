#pragma once

// Matrix products of one warp, sm_80 and later. All 32 lanes call together.
//
// Fragments, of lane l with g = l / 4 and t = l % 4; each 32-bit register holds two bf16, the lower column (of B: row) in
// the low half:
//   A (16 x 16, row-major)   a[0] = A[g][2t..2t+1]       a[1] = A[g+8][2t..]      a[2] = A[g][2t+8..]   a[3] = A[g+8][2t+8..]
//   B (16 x 8)               b[0] = B[2t..2t+1][g]       b[1] = B[2t+8..2t+9][g]
//   C (16 x 8, float32)      c[0..1] = C[g][2t..2t+1]    c[2..3] = C[g+8][2t..2t+1]

#include <cstdint>

#include "kernels/cuda/ptx/shared_memory.h"

namespace lexel::kernels::cuda::ptx {

/// Two floats, rounded to nearest even, as one register.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/// The same as two float16, and the way back.
__device__ __forceinline__ uint32_t pack_half(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
__device__ __forceinline__ float half_value(uint32_t packed, int which) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(packed >> (16 * which))));
  return value;
}

/// ldmatrix: four 8 x 8 matrices of 16-bit values from shared memory. Lane 8i + r gives the address (16-byte aligned) of
/// row r of matrix i; r[i] of lane l gets row l / 4, columns 2 (l % 4) and the next, of matrix i. So with the quarters of a
/// 16 x 16 A tile in the order (top left, bottom left, top right, bottom right), r is A's fragment; and 8 columns of B,
/// stored as rows of k, are B's.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// The same with each matrix turned: B's fragment from B stored row-major.
__device__ __forceinline__ void load_matrices_turned(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// c += a b, m16n8k16, bf16 with float32 sums.
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                              uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// c += a b, m16n8k16, float16 with float32 sums; fragments as of bf16.
__device__ __forceinline__ void multiply_half(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                              uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace lexel::kernels::cuda::ptx
