#include "apps/bench/measure.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <algorithm>
#include <benchmark/benchmark.h>
#include <cmath>
#include <functional>
#include <iterator>
#include <time.h>

#include "apps/bench/ceilings.h"
#include "kernels/check.h"
#include "kernels/gpu_stopwatch.h"

namespace lexel::bench {
namespace {

constexpr double kRoundSeconds = 0.1;  // of one contender
constexpr double kSampleSeconds =
    50e-6;  // shorter calls are timed several at a time: the clock costs up to 1 us
constexpr int64_t kLeastSamples = 4;  // of a round, unless a call is long
constexpr double kLongSeconds = 0.15;

/// One way to the seconds of a call.
using Sampler = std::function<double()>;

Sampler cpu_sampler(const std::function<void()>& run, bool cold) {
  run();  // first touch, packing of threads
  const double start = clock_s();
  run();
  const double once = std::max(clock_s() - start, 1e-9);
  const int64_t calls =
      cold ? 1 : std::clamp<int64_t>(std::llround(kSampleSeconds / once), 1, 10'000);
  return [run, cold, calls] {
    if (cold) evict_caches();
    const double begin = clock_s();
    for (int64_t i = 0; i < calls; ++i) run();
    return (clock_s() - begin) / static_cast<double>(calls);
  };
}

/// Google Benchmark prints nothing for us: samples are kept by the loops themselves.
class Silent : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>&) override {}
};

void set_google_benchmark_flags() {
  char name[] = "lexel", interleave[] = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {name, interleave, nullptr};
  int count = 2;
  benchmark::Initialize(&count, arguments);
}

struct Entry {
  Sampler sample;
  int64_t samples_a_round = 1;
  std::vector<double> seconds;
};

/// A sample, after one to warm up, tells how many a round can take.
int64_t samples_a_round(const Sampler& sample) {
  sample();
  timespec before{}, after{};
  clock_gettime(CLOCK_MONOTONIC, &before);
  sample();
  clock_gettime(CLOCK_MONOTONIC, &after);
  const double seconds = static_cast<double>(after.tv_sec - before.tv_sec) +
                         1e-9 * static_cast<double>(after.tv_nsec - before.tv_nsec);
  const int64_t least = seconds < kLongSeconds ? kLeastSamples : 1;
  return std::clamp<int64_t>(std::llround(kRoundSeconds / std::max(seconds, 1e-9)), least, 10'000);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

double clock_s() {
  timespec time{};
  clock_gettime(at::get_num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::vector<Timing> measure(const Runs& runs, Ceiling ceiling, at::Device device, int64_t rounds) {
  const bool by_memory = ceiling == Ceiling::kRead || ceiling == Ceiling::kUpdate;
  std::vector<const Contender*> contenders = {&runs.ours};
  for (const Contender& peer : runs.peers) contenders.push_back(&peer);

  std::vector<Timing> timings(contenders.size());
  std::vector<Entry> entries(contenders.size());
  set_google_benchmark_flags();
  benchmark::ClearRegisteredBenchmarks();
  size_t registered = 0;
  for (size_t i = 0; i < contenders.size(); ++i) {
    Timing& timing = timings[i];
    Entry& entry = entries[i];
    timing.name = contenders[i]->name;
    try {
      if (device.is_cuda()) {
        kernels::GpuStopwatch stopwatch = kernels::make_gpu_stopwatch(device, contenders[i]->run);
        entry.sample = std::move(stopwatch.seconds);
        timing.graph = stopwatch.graph;
      } else {
        entry.sample = cpu_sampler(contenders[i]->run, by_memory);
      }
      entry.samples_a_round = samples_a_round(entry.sample);
    } catch (const std::exception& error) {
      const std::string text = error.what();
      timing.error = text.substr(0, text.find('\n'));
      continue;
    }
    benchmark::RegisterBenchmark(concat(i).c_str(),
                                 [&entry, &timing](benchmark::State& state) {
                                   try {
                                     for (auto _ : state) {
                                       entry.seconds.push_back(entry.sample());
                                       state.SetIterationTime(entry.seconds.back());
                                     }
                                   } catch (const std::exception& error) {
                                     timing.error = error.what();
                                     state.SkipWithError("");
                                   }
                                 })
        ->UseManualTime()
        ->Iterations(entry.samples_a_round)
        ->Repetitions(static_cast<int>(rounds));
    ++registered;
  }
  Silent silent;
  if (registered > 0) benchmark::RunSpecifiedBenchmarks(&silent, nullptr, "all");
  benchmark::ClearRegisteredBenchmarks();

  for (size_t i = 0; i < contenders.size(); ++i) {
    std::vector<double>& seconds = entries[i].seconds;
    timings[i].samples = std::ssize(seconds);
    if (!timings[i].error.empty() || seconds.empty()) continue;
    timings[i].seconds =
        device.is_cuda() ? median(seconds) : *std::min_element(seconds.begin(), seconds.end());
  }
  return timings;
}

}  // namespace lexel::bench
