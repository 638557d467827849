#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <cmath>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "kernels/codebook_lookup.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ptx/async_copy.h"
#include "kernels/cuda/ptx/mma.h"
#include "kernels/philox.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels::cuda {
namespace {

using testing::HasSubstr;

constexpr int kThreads = 96;

/// What the launch throws, or "".
template <class... Parameters, class... Arguments>
std::string error_of(void (*kernel)(Parameters...), const LaunchShape& shape,
                     const Arguments&... arguments) {
  try {
    launch("kernel", kernel, shape, nullptr, arguments...);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    return error.what();
  }
  return "";
}

/// Runs `check` with seeds 1..20.
template <class Check>
void with_seeds(Check&& check) {
  const cuda_emulator::Settings before = cuda_emulator::settings();
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    cuda_emulator::settings().seed = seed;
    check();
  }
  cuda_emulator::settings() = before;
}

/// Turns the values of each block around, through shared memory; without its barrier it is wrong.
template <bool kBarrier>
__global__ void turn_around(const float* in, float* out) {
  __shared__ float values[kThreads];
  const int64_t first = int64_t{blockIdx.x} * kThreads;
  values[threadIdx.x] = in[first + threadIdx.x];
  if constexpr (kBarrier) __syncthreads();
  out[first + threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

TEST(CudaEmulator, BarrierMakesWritesVisible) {
  std::vector<float> in(5 * kThreads), out(in.size());
  std::iota(in.begin(), in.end(), 0.0F);
  with_seeds([&] {
    EXPECT_EQ(error_of(turn_around<true>, {5, kThreads}, in.data(), out.data()), "");
    for (size_t i = 0; i < in.size(); ++i) {
      ASSERT_EQ(out[i], in[i / kThreads * kThreads + kThreads - 1 - i % kThreads]);
    }
  });
}

TEST(CudaEmulator, MissingBarrierShowsAsNan) {
  const std::vector<float> in(kThreads, 1.0F);
  std::vector<float> out(kThreads);
  with_seeds([&] {
    EXPECT_EQ(error_of(turn_around<false>, {1, kThreads}, in.data(), out.data()), "");
    EXPECT_TRUE(std::isnan(std::accumulate(out.begin(), out.end(), 0.0F)));
  });
}

__global__ void last_writer(int* out) { *out = static_cast<int>(threadIdx.x); }

TEST(CudaEmulator, SeedChangesTheOrderAndRepeatsIt) {
  std::vector<int> first, second;
  for (std::vector<int>* const writers : {&first, &second}) {
    with_seeds([&] {
      int out = -1;
      EXPECT_EQ(error_of(last_writer, {1, 64}, &out), "");
      writers->push_back(out);
    });
  }
  EXPECT_EQ(first, second);
  EXPECT_GE(std::set<int>(first.begin(), first.end()).size(), 10u);
}

__global__ void half_waits(bool exit) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else if (!exit) {
    __syncthreads();
  }
  __syncwarp(0xFFFFFFFFU);
}

TEST(CudaEmulator, BarrierAtTwoLinesIsReported) {
  const std::string error = error_of(half_waits, {1, 64}, false);
  EXPECT_THAT(error, HasSubstr("kernel: threads that should meet are at __syncthreads at "
                               "emulator_test.cpp:"));
}

TEST(CudaEmulator, ExitedThreadsDoNotHoldTheBlockBarrier) {
  EXPECT_EQ(error_of(half_waits, {1, 64}, true), "");
}

__global__ void lanes_are_missing() {
  if (threadIdx.x < 16) __syncwarp();
}

TEST(CudaEmulator, DeadlockIsReported) {
  const std::string error = error_of(lanes_are_missing, {1, 64});
  EXPECT_THAT(error, HasSubstr("kernel: deadlock in block (0, 0, 0): 48 threads have exited; 16 "
                               "threads wait for __syncwarp at emulator_test.cpp:"));
}

__global__ void collectives(int* out) {
  constexpr unsigned kAll = 0xFFFFFFFFU;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int value = lane;
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kAll, value, offset);
  bool good = value == 496;
  good &= __shfl_sync(kAll, 10 * lane, 5, 8) == 10 * (lane / 8 * 8 + 5);
  good &= __shfl_up_sync(kAll, lane, 3) == (lane < 3 ? lane : lane - 3);
  good &= __shfl_down_sync(kAll, int64_t{lane}, 1, 16) == (lane % 16 == 15 ? lane : lane + 1);
  good &= __ballot_sync(kAll, lane % 2) == 0xAAAAAAAAU;
  good &= __any_sync(kAll, lane == 3) != 0 && __all_sync(kAll, lane >= 1) == 0;
  good &= __reduce_max_sync(kAll, -lane) == 0 && __reduce_add_sync(kAll, 1U) == 32;
  good &= __syncthreads_count(lane == 0) == static_cast<int>(blockDim.x) / 32;
  if (lane < 8) good &= __shfl_sync(0xFFU, lane, 2) == 2;  // a part of the warp
  out[threadIdx.x] = good ? 1 : 0;
}

TEST(CudaEmulator, WarpCollectives) {
  with_seeds([&] {
    std::vector<int> out(64);
    EXPECT_EQ(error_of(collectives, {1, 64}, out.data()), "");
    EXPECT_EQ(out, std::vector<int>(64, 1));
  });
}

__global__ void fill_dynamic(int count) { ptx::dynamic_shared<float>()[count - 1] = 1; }

TEST(CudaEmulator, WritePastDynamicSharedMemoryIsReported) {
  LaunchShape shape{1, 1};
  shape.shared_bytes = 400;
  EXPECT_EQ(error_of(fill_dynamic, shape, 100), "");
  EXPECT_THAT(error_of(fill_dynamic, shape, 101), HasSubstr("wrote past its 400 bytes"));
}

template <bool kWait>
__global__ void copy_late(const float4* in, float4* out) {
  auto* const shared = ptx::dynamic_shared<float4>();
  for (int i = 0; i < 2; ++i) {
    ptx::start_copy_16(&shared[32 * i + threadIdx.x], &in[32 * i + threadIdx.x],
                       threadIdx.x % 2 == 0);
    ptx::close_copy_group();
  }
  ptx::wait_for_copies<kWait ? 0 : 1>();
  __syncthreads();
  for (unsigned i = threadIdx.x; i < 64; i += 32) out[i] = shared[63 - i];
}

TEST(CudaEmulator, CopiesComeNotBeforeTheWait) {
  const std::vector<float4> in(64, {1, 2, 3, 4});
  std::vector<float4> out(64);
  LaunchShape shape{1, 32};
  shape.shared_bytes = 64 * sizeof(float4);
  EXPECT_EQ(error_of(copy_late<true>, shape, in.data(), out.data()), "");
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(out[63 - i].w, i % 2 == 0 ? 4 : 0);  // zero filled
  EXPECT_EQ(error_of(copy_late<false>, shape, in.data(), out.data()), "");
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(std::isnan(out[63 - i].w), i >= 32);
}

__global__ void misaligned(float* out) {
  ptx::start_copy_16(ptx::dynamic_shared<float>() + 1, out, true);
}

TEST(CudaEmulator, MisalignedCopyIsReported) {
  LaunchShape shape{1, 1};
  shape.shared_bytes = 64;
  alignas(16) float out[4] = {};
  EXPECT_THAT(error_of(misaligned, shape, &out[0]), HasSubstr("not 16-byte aligned"));
}

/// One warp: C (16 x 8) = A (16 x 16) B (16 x 8), all row-major; B is read turned, and again from its transpose.
__global__ void multiply_tiles(const float* a, const float* b, float* c) {
  __shared__ __align__(16) __nv_bfloat16 a_tile[16][24], b_tile[16][24], b_turned[16][24];
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) {
    a_tile[i / 16][i % 16] = a[i];
    b_tile[i / 16][i % 16] = i % 16 < 8 ? b[i / 16 * 8 + i % 16] : 0.0F;
    b_turned[i % 16][i / 16] = b_tile[i / 16][i % 16];
  }
  __syncwarp();
  const int lane = static_cast<int>(threadIdx.x), row = lane % 16, column = lane / 16 * 8;
  uint32_t fa[4], fb[4], ft[4];
  ptx::load_matrices(fa, &a_tile[row][column]);
  ptx::load_matrices_turned(fb, &b_tile[row][column]);
  ptx::load_matrices(ft, &b_turned[lane % 8][lane / 8 % 2 * 8]);
  float sums[4] = {};
  ptx::multiply_bf16(sums, fa, fb[0], fb[1]);
  ptx::multiply_bf16(sums, fa, ft[0], ft[1]);
  for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + 2 * (lane % 4) + i % 2] = sums[i];
}

TEST(CudaEmulator, Bf16ProductsOfAWarp) {
  std::vector<float> a(256), b(128), c(128);
  Philox random(1);
  for (float& x : a) x = static_cast<float>(random.uniform_int(17)) - 8;  // exact as bf16
  for (float& x : b) x = static_cast<float>(random.uniform_int(17)) - 8;
  EXPECT_EQ(error_of(multiply_tiles, {1, 32}, a.data(), b.data(), c.data()), "");
  for (size_t i = 0; i < 128; ++i) {
    float wanted = 0;
    for (size_t k = 0; k < 16; ++k) wanted += 2 * a[i / 8 * 16 + k] * b[k * 8 + i % 8];
    EXPECT_EQ(c[i], wanted);
  }
}

TEST(CudaEmulator, OurKernelsTakeCpuTensors) {
  const at::Tensor rows = tests::random_tensor(1, {70, 20});
  const at::Tensor codes = tests::random_tensor(2, {200, 20});
  const CodebookMatch wanted = codebook_lookup(rows, codes, CodeMetric::kL2);
  const tests::OnEmulatedCuda emulated;
  const CodebookMatch match = codebook_lookup(rows, codes, CodeMetric::kL2);
  EXPECT_TRUE(at::equal(match.ids, wanted.ids));
  EXPECT_LT(tests::relative_difference(match.score, wanted.score), 1e-6);
  EXPECT_TRUE(std::isnan(at::empty({3}, at::kFloat).sum().item<float>()));
}

}  // namespace
}  // namespace lexel::kernels::cuda
