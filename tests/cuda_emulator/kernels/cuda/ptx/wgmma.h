#pragma once

// Twin of kernels/cuda/ptx/wgmma.h, where registers and layouts are described. A product is made when a thread of the warpgroup
// waits for it, not before.

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/cuda/ptx/shared_memory.h"
#include "tests/cuda_emulator/block.h"

namespace lexel::kernels::cuda::ptx {

enum class Swizzle : uint32_t { kPlain = 0, kSwizzle128 = 1, kSwizzle64 = 2 };

template <Swizzle kSwizzle>
constexpr uint32_t swizzled(uint32_t offset) {
  if (kSwizzle == Swizzle::kPlain) return offset;
  return offset ^ ((offset >> 7 & (kSwizzle == Swizzle::kSwizzle128 ? 7U : 3U)) << 4);
}

struct SharedMatrix {
  const unsigned char* start;
  uint32_t leading, stride;
  Swizzle swizzle;

  SharedMatrix further(uint32_t bytes) const {
    expect_aligned(reinterpret_cast<const void*>(uintptr_t{bytes}), 16, "wgmma");
    return {start + bytes, leading, stride, swizzle};
  }

  /// The value in row `row` (of A, or column of the product for B) and depth `k`.
  uint16_t get(uint32_t row, uint32_t k, bool turned) const {
    uint32_t offset = 0;
    if (turned) {
      offset = row % 64 * 2 + row / 64 * leading + k % 8 * 128 + k / 8 * stride;
    } else if (swizzle == Swizzle::kPlain) {
      offset = row % 8 * 16 + row / 8 * stride + k / 8 * leading + k % 8 * 2;
    } else {
      const uint32_t row_bytes = swizzle == Swizzle::kSwizzle128 ? 128 : 64;
      offset = row % 8 * row_bytes + row / 8 * stride + k * 2;
    }
    // The device permutes address bits; dynamic shared memory is aligned so that ours are the same.
    const uintptr_t address = reinterpret_cast<uintptr_t>(start) + offset;
    const auto low = static_cast<uint32_t>(address & 0x3FFU);
    const uint32_t moved = swizzle == Swizzle::kSwizzle128  ? swizzled<Swizzle::kSwizzle128>(low)
                           : swizzle == Swizzle::kSwizzle64 ? swizzled<Swizzle::kSwizzle64>(low)
                                                            : low;
    uint16_t bits = 0;
    std::memcpy(&bits, reinterpret_cast<const void*>(address - low + moved), sizeof(bits));
    return bits;
  }
};

template <Swizzle kSwizzle>
SharedMatrix shared_matrix(const void* start, uint32_t leading, uint32_t stride) {
  expect_aligned(start, 16, "wgmma");
  return {static_cast<const unsigned char*>(start), leading, stride, kSwizzle};
}

inline void fence_products() {}
template <class Registers>
void pin(Registers&) {}
inline void close_product_group() { cuda_emulator::close_warpgroup_group(); }

template <int kMayStayOpen, class... Registers>
void wait_for_products(Registers&...) {
  cuda_emulator::wait_for_warpgroup(kMayStayOpen);
}

/// What one thread brings to a product.
struct ProductPart {
  float* d;
  bool a_in_registers;
  uint32_t a_registers[4];
  SharedMatrix a, b;
  bool accumulate;
};

template <bool kHalf>
float value_of(uint16_t bits) {
  return kHalf ? lexel_half_value(bits) : std::bit_cast<float>(uint32_t{bits} << 16);
}

template <int N, bool kTurnedB, bool kHalf>
void compute_product(const std::array<ProductPart, cuda_emulator::kWarpgroup>& parts) {
  constexpr uint32_t kDepth = 16;
  float a[64][kDepth], b[kDepth][N];
  for (uint32_t k = 0; k < kDepth; ++k) {
    for (uint32_t n = 0; n < N; ++n) {
      b[k][n] = value_of<kHalf>(parts[0].b.get(n, k, kTurnedB));
    }
    for (uint32_t m = 0; m < 64; ++m) {
      if (parts[0].a_in_registers) {
        const uint32_t lane = m % 8 * 4 + k % 8 / 2;
        const uint32_t value = parts[m / 16 * 32 + lane].a_registers[m / 8 % 2 + k / 8 * 2];
        a[m][k] = value_of<kHalf>(static_cast<uint16_t>(value >> (k % 2 * 16)));
      } else {
        a[m][k] = value_of<kHalf>(parts[0].a.get(m, k, false));
      }
    }
  }
  for (uint32_t m = 0; m < 64; ++m) {
    float sums[N];
    for (uint32_t n = 0; n < N; ++n) {
      const ProductPart& to = parts[m / 16 * 32 + m % 8 * 4 + n % 8 / 2];
      sums[n] = to.accumulate ? to.d[n / 8 * 4 + m / 8 % 2 * 2 + n % 2] : 0.0F;
    }
    for (uint32_t k = 0; k < kDepth; ++k) {
      for (uint32_t n = 0; n < N; ++n) sums[n] += a[m][k] * b[k][n];
    }
    for (uint32_t n = 0; n < N; ++n) {
      const ProductPart& to = parts[m / 16 * 32 + m % 8 * 4 + n % 8 / 2];
      to.d[n / 8 * 4 + m / 8 % 2 * 2 + n % 2] = sums[n];
    }
  }
}

template <int N, bool kTurnedB, bool kHalf = false>
void start(ProductPart& mine, cuda_emulator::Site site) {
  static_assert(N == 64 || N == 128 || N == 256);
  const auto combine = [](void* const* threads) {
    const auto parts = std::make_shared<std::array<ProductPart, cuda_emulator::kWarpgroup>>();
    for (std::size_t i = 0; i < parts->size(); ++i) {
      (*parts)[i] = *static_cast<const ProductPart*>(threads[i]);
      const SharedMatrix &a = (*parts)[i].a, &b = (*parts)[i].b, &a0 = (*parts)[0].a,
                         &b0 = (*parts)[0].b;
      if (a.start != a0.start || b.start != b0.start || b.stride != b0.stride) {
        cuda_emulator::fail_kernel("threads of a warpgroup describe different matrices");
      }
    }
    cuda_emulator::start_in_warpgroup([parts] { compute_product<N, kTurnedB, kHalf>(*parts); });
  };
  cuda_emulator::meet_warpgroup(&mine, combine, "wgmma", site);
}

template <int N, bool kTurnedB = false>
void start_product(float (&d)[N / 2], SharedMatrix a, SharedMatrix b, bool accumulate,
                   cuda_emulator::Site site = cuda_emulator::Site::current()) {
  ProductPart mine{d, false, {}, a, b, accumulate};
  start<N, kTurnedB>(mine, site);
}

template <int N, bool kTurnedB = false>
void start_product(float (&d)[N / 2], const uint32_t (&a)[4], SharedMatrix b, bool accumulate,
                   cuda_emulator::Site site = cuda_emulator::Site::current()) {
  ProductPart mine{d, true, {a[0], a[1], a[2], a[3]}, {}, b, accumulate};
  start<N, kTurnedB>(mine, site);
}

inline void start_half_product(float (&d)[128], SharedMatrix a, SharedMatrix b, bool accumulate,
                               cuda_emulator::Site site = cuda_emulator::Site::current()) {
  ProductPart mine{d, false, {}, a, b, accumulate};
  start<256, false, true>(mine, site);
}

}  // namespace lexel::kernels::cuda::ptx
