// codebook_lookup against the two lines that every PyTorch tokenizer has: matmul and argmax. Ids are compared before
// anything is timed, and both run in turn in one loop.
//
//   ninja bench_codebook_lookup_bench && OMP_NUM_THREADS=1 bin/bench_codebook_lookup_bench
//
// With one thread the time is that thread's CPU time, so a busy machine gives the same numbers; with more it is wall time.
// Counters: lexel_ms and peer_ms, the best of all rounds; ratio = peer_ms / lexel_ms; GFLOP/s of lexel_ms.

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/matmul.h>
#include <algorithm>
#include <benchmark/benchmark.h>
#include <limits>
#include <time.h>

#include "kernels/codebook_lookup.h"
#include "tests/support/random_tensor.h"

namespace lexel::kernels {
namespace {

double now_s() {
  timespec time{};
  clock_gettime(at::get_num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class Run>
double seconds(Run&& run) {
  const double start = now_s();
  benchmark::DoNotOptimize(run());
  return now_s() - start;
}

/// The share of rows whose two ids differ.
double share_of_flips(const at::Tensor& a, const at::Tensor& b) {
  return a.ne(b).to(at::kDouble).mean().item<double>();
}

void cosine(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const int64_t num_rows = state.range(0), num_codes = state.range(1), width = state.range(2);
  at::Tensor rows = tests::random_tensor(1, {num_rows, width});    // (N, D)
  at::Tensor codes = tests::random_tensor(2, {num_codes, width});  // (K, D)
  rows = rows.div(rows.norm(2, 1, true));
  codes = codes.div(codes.norm(2, 1, true));
  const auto lexel = [&] { return codebook_lookup(rows, codes, CodeMetric::kCosine).ids; };
  const auto peer = [&] { return at::matmul(rows, codes.t()).argmax(1); };

  const double flips = share_of_flips(lexel(), peer());
  if (flips > 1e-3) {
    state.SkipWithError("ids differ from those of matmul + argmax");
    return;
  }
  double best = std::numeric_limits<double>::infinity(), best_peer = best;
  for (auto _ : state) {
    best_peer = std::min(best_peer, seconds(peer));
    const double time = seconds(lexel);
    best = std::min(best, time);
    state.SetIterationTime(time);
  }
  state.counters["lexel_ms"] = best * 1e3;
  state.counters["peer_ms"] = best_peer * 1e3;
  state.counters["ratio"] = best_peer / best;
  state.counters["GFLOP/s"] = 2e-9 * static_cast<double>(num_rows * num_codes * width) / best;
  state.counters["flips"] = flips;
}
BENCHMARK(cosine)
    ->ArgNames({"N", "K", "D"})
    ->Args({1024, 8192, 32})
    ->Args({8192, 8192, 32})
    ->Args({8192, 8192, 8})
    ->Args({1024, 8192, 256})
    ->Args({384, 65536, 256})
    ->Args({1, 8192, 32})
    ->Args({2, 8192, 32})
    ->Args({4, 8192, 32})
    ->Args({8, 8192, 32})
    ->Args({16, 8192, 32})
    ->Args({32, 8192, 32})
    ->Args({64, 8192, 32})
    ->Args({1, 8192, 256})
    ->Args({2, 8192, 256})
    ->Args({4, 8192, 256})
    ->Args({8, 8192, 256})
    ->Args({16, 8192, 256})
    ->Args({32, 8192, 256})
    ->Args({64, 8192, 256})
    ->Iterations(20)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lexel::kernels
