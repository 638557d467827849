#include "apps/bench/ceilings.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <algorithm>
#include <unistd.h>
#include <vector>

#include "apps/bench/measure.h"
#include "apps/bench/peak.h"
#include "kernels/check.h"
#include "kernels/gpu_stopwatch.h"

namespace lexel::bench {
namespace {

constexpr int64_t kMegabyte = 1 << 20;

int64_t last_cache_bytes() {
  const int64_t bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? bytes : 32 * kMegabyte;
}

/// Best seconds of several calls of `run`, for at least a quarter of a second.
template <class Run>
double best_s(Run&& run) {
  double best = 1e30, total = 0.0;
  for (int calls = 0; calls < 3 || (total < 0.25 && calls < 1000); ++calls) {
    const double start = clock_s();
    run();
    const double time = clock_s() - start;
    best = std::min(best, time);
    total += time;
  }
  return best;
}

/// Calls task(index) on each of LibTorch's threads at once.
template <class Task>
void on_each_thread(const Task& task) {
  const int64_t threads = at::get_num_threads();
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) task(i);
  });
}

double cpu_fma() {
  constexpr int64_t kSteps = 200'000;
  const auto threads = static_cast<size_t>(at::get_num_threads());
  std::vector<double> flop(threads);
  const double seconds = best_s([&] {
    on_each_thread([&](int64_t i) { flop[static_cast<size_t>(i)] = spin_multiply_adds(kSteps); });
  });
  double total = 0.0;
  for (const double one : flop) total += one;
  return total / seconds;
}

/// Reads all of `buffer`, each thread its part.
void read_all(const at::Tensor& buffer) {
  const float* const data = buffer.const_data_ptr<float>();
  const int64_t threads = at::get_num_threads(), part = buffer.numel() / threads;
  on_each_thread([&](int64_t i) { read_floats(data + i * part, part); });
}

at::Tensor large_buffer() {
  const int64_t bytes = std::clamp(4 * last_cache_bytes(), 256 * kMegabyte, 2048 * kMegabyte);
  return at::ones({bytes / 4}, at::kFloat);  // written, so that each page is its own
}

/// The traffic of an optimizer: of four arrays all are read and three written.
double cpu_update() {
  const at::Tensor buffer = large_buffer();
  float* const data = buffer.data_ptr<float>();
  const int64_t threads = at::get_num_threads(), part = buffer.numel() / threads / 4;
  const double seconds = best_s([&] {
    on_each_thread([&](int64_t i) {
      float* const x = data + 4 * i * part;
      update_floats(x, x + part, x + 2 * part, x + 3 * part, part);
    });
  });
  return static_cast<double>(7 * 4 * part * threads) / seconds;
}

double cpu_read() {
  const at::Tensor buffer = large_buffer();
  const int64_t threads = at::get_num_threads();
  const int64_t read = buffer.numel() / threads * threads * 4;
  return static_cast<double>(read) / best_s([&] { read_all(buffer); });
}

/// Reads a quarter of the last cache, 8 MB at most, again and again: the weights of a small model.
double cpu_cache() {
  constexpr int64_t kTimes = 16;
  const int64_t bytes = std::min(last_cache_bytes() / 4, 8 * kMegabyte);
  const at::Tensor buffer = at::ones({bytes / 4}, at::kFloat);
  const int64_t threads = at::get_num_threads();
  const int64_t read = buffer.numel() / threads * threads * 4;
  return static_cast<double>(kTimes * read) / best_s([&] {
           for (int64_t i = 0; i < kTimes; ++i) read_all(buffer);
         });
}

double cpu_bf16() {
  const auto rate = [](int64_t side) {
    const at::Tensor a = at::randn({side, side}).to(at::kBFloat16),
                     b = at::randn({side, side}).to(at::kBFloat16);
    at::matmul(a, b);
    return 2.0 * static_cast<double>(side * side * side) / best_s([&] { at::matmul(a, b); });
  };
  const double small = rate(512);
  return small < 50e9 ? small : std::max(small, rate(2048));
}

double cuda_matmul(at::Device device, at::ScalarType dtype, int64_t side) {
  const at::Tensor a = at::randn({side, side}, at::device(device)).to(dtype);
  const at::Tensor b = at::randn({side, side}, at::device(device)).to(dtype);
  at::Tensor out = at::empty({side, side}, a.options());
  const kernels::GpuStopwatch stopwatch =
      kernels::make_gpu_stopwatch(device, [&] { at::matmul_out(out, a, b); });
  double best = 1e30;
  for (int i = 0; i < 10; ++i) best = std::min(best, stopwatch.seconds());
  return 2.0 * static_cast<double>(side * side * side) / best;
}

double cuda_copy(at::Device device) {
  const int64_t bytes = 1024 * kMegabyte;
  const at::Tensor from = at::ones({bytes / 4}, at::device(device).dtype(at::kFloat));
  const at::Tensor to = at::empty_like(from);
  const kernels::GpuStopwatch stopwatch =
      kernels::make_gpu_stopwatch(device, [&] { to.copy_(from); });
  double best = 1e30;
  for (int i = 0; i < 10; ++i) best = std::min(best, stopwatch.seconds());
  return 2.0 * static_cast<double>(bytes) / best;
}

}  // namespace

double measure_ceiling(Ceiling ceiling, at::Device device) {
  switch (ceiling) {
    case Ceiling::kFma:
      return device.is_cuda() ? cuda_matmul(device, at::kFloat, 4096) : cpu_fma();
    case Ceiling::kTensor:
      return device.is_cuda() ? cuda_matmul(device, at::kBFloat16, 8192) : cpu_bf16();
    case Ceiling::kRead:
      return device.is_cuda() ? cuda_copy(device) : cpu_read();
    case Ceiling::kUpdate:
      return device.is_cuda() ? cuda_copy(device) : cpu_update();
    case Ceiling::kCache:
      return device.is_cuda() ? cuda_copy(device) : cpu_cache();
    case Ceiling::kLaunch:
      return 0.0;
  }
  fail(ErrorKind::kInternal, "unknown ceiling");
}

void evict_caches() {
  // All threads read it: each has caches of its own beside the last one that they share.
  static const at::Tensor other =
      at::ones({std::min(2 * last_cache_bytes(), 1024 * kMegabyte) / 4}, at::kFloat);
  read_all(other);
}

}  // namespace lexel::bench
