// The emulator's wgmma, mbarriers and bulk copies.

#include <cmath>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/barrier.h"
#include "kernels/cuda/ptx/mma.h"
#include "kernels/cuda/ptx/wgmma.h"
#include "kernels/philox.h"

namespace lexel::kernels::cuda {
namespace {

using ptx::Swizzle;
using testing::HasSubstr;

constexpr int kDepth = 64;  // four products of 16

/// What the launch throws, or "".
template <class... Parameters, class... Arguments>
std::string error_of(void (*kernel)(Parameters...), const LaunchShape& shape,
                     const Arguments&... arguments) {
  try {
    launch("kernel", kernel, shape, nullptr, arguments...);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// Byte offset of value (row, k) in a matrix of rows of kDepth values, in the layout that wgmma.h describes; kPlain with 8 k
/// after each other.
template <Swizzle kSwizzle>
uint32_t offset_of(uint32_t row, uint32_t k) {
  if (kSwizzle == Swizzle::kPlain) {
    return row / 8 * (kDepth * 16) + k / 8 * 128 + row % 8 * 16 + k % 8 * 2;
  }
  if (kSwizzle == Swizzle::kSwizzle128) return ptx::swizzled<kSwizzle>(row * 128 + k * 2);
  return k / 32 * 64 * 64 + ptx::swizzled<kSwizzle>(row * 64 + k % 32 * 2);  // 64 rows at most
}

template <Swizzle kSwizzle>
ptx::SharedMatrix describe(const unsigned char* start, uint32_t step) {
  if constexpr (kSwizzle == Swizzle::kPlain) {
    return ptx::shared_matrix<kSwizzle>(start, 128, kDepth * 16).further(step * 256);
  } else if constexpr (kSwizzle == Swizzle::kSwizzle128) {
    return ptx::shared_matrix<kSwizzle>(start, 16, 1024).further(step * 32);
  } else {
    return ptx::shared_matrix<kSwizzle>(start + step / 2 * 4096, 16, 512).further(step % 2 * 32);
  }
}

/// One warpgroup: C (64 x N) = A (64 x 64) B (64 x N), A as it lies in shared memory, or from registers.
template <int N, Swizzle kSwizzle, bool kTurnedB, bool kRegisters>
__global__ void multiply(const unsigned char* a, const unsigned char* b, float* c, bool wait) {
  auto* const shared = ptx::dynamic_shared<unsigned char>();
  unsigned char* const b_shared = shared + 64 * kDepth * 2;
  for (unsigned i = threadIdx.x; i < 64 * kDepth * 2; i += 128) shared[i] = a[i];
  for (unsigned i = threadIdx.x; i < N * kDepth * 2; i += 128) b_shared[i] = b[i];
  ptx::fence_async_proxy();
  __syncthreads();
  float d[N / 2];
  const unsigned warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  ptx::fence_products();
  for (uint32_t step = 0; step < kDepth / 16; ++step) {
    const ptx::SharedMatrix right =
        kTurnedB ? ptx::shared_matrix<kSwizzle>(b_shared, kDepth * 128, 1024).further(step * 2048)
                 : describe<kSwizzle>(b_shared, step);
    if constexpr (kRegisters) {
      uint32_t fragment[4];
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = 16 * warp + g + i % 2 * 8, k = 16 * step + 2 * t + i / 2 * 8;
        fragment[i] =
            *reinterpret_cast<const uint32_t*>(shared + ptx::swizzled<kSwizzle>(row * 128 + k * 2));
      }
      ptx::start_product<N, kTurnedB>(d, fragment, right, step > 0);
    } else {
      ptx::start_product<N, kTurnedB>(d, describe<kSwizzle>(shared, step), right, step > 0);
    }
  }
  ptx::close_product_group();
  if (wait) {
    ptx::wait_for_products<0>(d);
  } else {
    for (float& x : d) x = -1;
  }
  for (unsigned i = 0; i < N / 2; ++i) {
    c[(16 * warp + g + i / 2 % 2 * 8) * N + i / 4 * 8 + 2 * t + i % 2] = d[i];
  }
}

template <int N, Swizzle kSwizzle, bool kTurnedB, bool kRegisters>
void expect_product() {
  std::vector<float> a(64 * kDepth), b(N * kDepth), c(64 * N);
  std::vector<uint16_t> a_bits(a.size()), b_bits(b.size());
  Philox random(1);
  for (uint32_t m = 0; m < 64; ++m) {
    for (uint32_t k = 0; k < kDepth; ++k) {
      const float x = static_cast<float>(random.uniform_int(17)) - 8;  // exact as bf16
      a[m * kDepth + k] = x;
      a_bits[offset_of<kSwizzle>(m, k) / 2] = lexel_bfloat16_bits(x);
    }
  }
  for (uint32_t n = 0; n < N; ++n) {
    for (uint32_t k = 0; k < kDepth; ++k) {
      const float x = static_cast<float>(random.uniform_int(17)) - 8;
      b[n * kDepth + k] = x;
      const uint32_t offset =
          kTurnedB
              ? n / 64 * kDepth * 128 + ptx::swizzled<Swizzle::kSwizzle128>(k * 128 + n % 64 * 2)
              : offset_of<kSwizzle>(n, k);
      b_bits[offset / 2] = lexel_bfloat16_bits(x);
    }
  }
  LaunchShape shape{1, 128};
  shape.shared_bytes = (64 + N) * kDepth * 2;
  const auto* const a_bytes = reinterpret_cast<const unsigned char*>(a_bits.data());
  const auto* const b_bytes = reinterpret_cast<const unsigned char*>(b_bits.data());
  EXPECT_EQ(error_of(multiply<N, kSwizzle, kTurnedB, kRegisters>, shape, a_bytes, b_bytes, c.data(),
                     true),
            "");
  for (size_t i = 0; i < c.size(); ++i) {
    float wanted = 0;
    for (size_t k = 0; k < kDepth; ++k) wanted += a[i / N * kDepth + k] * b[i % N * kDepth + k];
    ASSERT_EQ(c[i], wanted) << i;
  }
  EXPECT_EQ(error_of(multiply<N, kSwizzle, kTurnedB, kRegisters>, shape, a_bytes, b_bytes, c.data(),
                     false),
            "");
  EXPECT_EQ(c, std::vector<float>(c.size(), -1.0F));  // nothing came, without the wait
}

TEST(CudaEmulatorSm90, ProductsOfPlainTiles) {
  expect_product<256, Swizzle::kPlain, false, false>();
}
TEST(CudaEmulatorSm90, ProductsOfSwizzledTiles) {
  expect_product<128, Swizzle::kSwizzle128, false, false>();
  expect_product<64, Swizzle::kSwizzle64, false, false>();
}
TEST(CudaEmulatorSm90, ProductsOfTurnedTiles) {
  expect_product<64, Swizzle::kSwizzle128, true, false>();
  expect_product<128, Swizzle::kSwizzle128, true, false>();
}
TEST(CudaEmulatorSm90, ProductsWithAInRegisters) {
  expect_product<64, Swizzle::kSwizzle128, true, true>();
  expect_product<256, Swizzle::kSwizzle128, false, true>();
}

enum class Mistake { kNone, kNoFullWait, kNoEmptyWait, kNoArrival, kNotSetUp };

/// A producer warp sends `count` pieces of 128 floats through a ring of two places to a consumer warpgroup.
__global__ void ring(const float* in, float* out, int count, Mistake mistake) {
  constexpr unsigned kPlaces = 2;
  __shared__ ptx::Barrier full[kPlaces], empty[kPlaces];
  auto* const places = ptx::dynamic_shared<float>();
  if (threadIdx.x == 0 && mistake != Mistake::kNotSetUp) {
    for (unsigned i = 0; i < kPlaces; ++i) {
      ptx::set_up(&full[i], 1);
      ptx::set_up(&empty[i], 4);
    }
    ptx::fence_barriers();
  }
  __syncthreads();
  const auto pieces = static_cast<unsigned>(count);
  if (threadIdx.x >= 128) {
    if (threadIdx.x != 128) return;
    for (unsigned i = 0; i < pieces; ++i) {
      const unsigned place = i % kPlaces, parity = i / kPlaces % 2;
      if (mistake != Mistake::kNoEmptyWait) ptx::wait_for(&empty[place], parity ^ 1U);
      ptx::arrive_expecting(&full[place], 512);
      ptx::start_bulk_copy(places + 128 * place, in + 128 * i, 512, &full[place]);
    }
    return;
  }
  for (unsigned i = 0; i < pieces; ++i) {
    const unsigned place = i % kPlaces, parity = i / kPlaces % 2;
    if (mistake != Mistake::kNoFullWait) ptx::wait_for(&full[place], parity);
    out[128 * i + threadIdx.x] = places[128 * place + threadIdx.x];
    __syncwarp();
    if (threadIdx.x % 32 == 0 && mistake != Mistake::kNoArrival) ptx::arrive(&empty[place]);
  }
}

TEST(CudaEmulatorSm90, RingOfBulkCopies) {
  std::vector<float> in(128 * 9), out(in.size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  LaunchShape shape{1, 160};
  shape.shared_bytes = 1024;
  const auto run = [&](Mistake mistake) {
    std::fill(out.begin(), out.end(), -1.0F);
    return error_of(ring, shape, in.data(), out.data(), 9, mistake);
  };
  const cuda_emulator::Settings before = cuda_emulator::settings();
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    cuda_emulator::settings().seed = seed;
    EXPECT_EQ(run(Mistake::kNone), "");
    EXPECT_EQ(out, in);
    run(Mistake::kNoFullWait);
    EXPECT_NE(out, in);
    const std::string error = run(Mistake::kNoEmptyWait);
    EXPECT_TRUE(!error.empty() || out != in);
  }
  cuda_emulator::settings() = before;
  EXPECT_THAT(run(Mistake::kNoArrival),
              HasSubstr("threads wait for mbarrier, parity 0, at sm90_test"));
  EXPECT_THAT(run(Mistake::kNotSetUp), HasSubstr("an mbarrier that nobody set up"));
}

/// Warp 0 waits at barrier 3 for what warp 1 announces.
__global__ void hand_over(int* out) {
  __shared__ int value;
  if (threadIdx.x < 32) {
    ptx::meet(3, 64);
    out[threadIdx.x] = value;
  } else {
    if (threadIdx.x == 32) value = 7;
    __syncwarp();
    ptx::announce(3, 64);
  }
}

TEST(CudaEmulatorSm90, NamedBarriers) {
  std::vector<int> out(32);
  EXPECT_EQ(error_of(hand_over, {1, 64}, out.data()), "");
  EXPECT_EQ(out, std::vector<int>(32, 7));
}

}  // namespace
}  // namespace lexel::kernels::cuda
