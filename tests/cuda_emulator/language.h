#pragma once

// CUDA C++'s keywords, built-in variables and vector types, for a C++ compiler.

#include <cstddef>
#include <cstdint>

#include "tests/cuda_emulator/block.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// Blocks run one after another, so one copy is enough. Thread-local, because the variables of one thread of the CPU lie
// together, where the emulator can find them and fill them with NaNs (a section attribute is lost in templates).
#define __shared__ static thread_local

// Code for any architecture can be read; which is run, the launches choose by limits_of().
#define __CUDA_ARCH__ 900
#define __CUDA_ARCH_FEAT_SM90_ALL 1

using uint3 = lexel::cuda_emulator::Index3;

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned columns = 1, unsigned rows = 1, unsigned planes = 1)
      : x(columns), y(rows), z(planes) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

inline const uint3& threadIdx = lexel::cuda_emulator::thread_index;
inline const uint3& blockIdx = lexel::cuda_emulator::block_index;
inline const uint3& blockDim = lexel::cuda_emulator::block_size;
inline const uint3& gridDim = lexel::cuda_emulator::grid_size;
inline constexpr int warpSize = lexel::cuda_emulator::kWarp;

#define LEXEL_EMULATED_VECTORS(name, type, alignment2, alignment4)            \
  struct __align__(alignment2) name##2 {                                      \
    type x, y;                                                                \
  };                                                                          \
  struct name##3 {                                                            \
    type x, y, z;                                                             \
  };                                                                          \
  struct __align__(alignment4) name##4 {                                      \
    type x, y, z, w;                                                          \
  };                                                                          \
  inline name##2 make_##name##2(type x, type y) { return {x, y}; }            \
  inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; } \
  inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

LEXEL_EMULATED_VECTORS(char, signed char, 2, 4)
LEXEL_EMULATED_VECTORS(uchar, unsigned char, 2, 4)
LEXEL_EMULATED_VECTORS(short, short, 4, 8)
LEXEL_EMULATED_VECTORS(ushort, unsigned short, 4, 8)
LEXEL_EMULATED_VECTORS(int, int, 8, 16)
LEXEL_EMULATED_VECTORS(float, float, 8, 16)
LEXEL_EMULATED_VECTORS(longlong, long long, 16, 16)
LEXEL_EMULATED_VECTORS(ulonglong, unsigned long long, 16, 16)
LEXEL_EMULATED_VECTORS(double, double, 16, 16)
#undef LEXEL_EMULATED_VECTORS

struct __align__(8) uint2 {
  unsigned x, y;
};
struct __align__(16) uint4 {
  unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
