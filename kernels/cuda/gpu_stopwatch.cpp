// A stopwatch of CUDA events around CUDA graphs.
//
// Short work is lost in the cost of an event and of a graph's start (some microseconds), so two graphs are timed: one of
// `repeats` times (fill L2 with other data, work), one of as many fills alone. Their difference is the work's, each time
// on a cold L2. The fill reads, so it leaves nothing that the work would have to write back.

#include "kernels/cuda/gpu_stopwatch.h"

#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cmath>
#include <cuda_runtime.h>
#include <memory>
#include <utility>

#include "kernels/cuda/launch.h"

namespace lexel::kernels::cuda {
namespace {

constexpr double kShortSeconds = 1e-3;  // below: the difference of two graphs
constexpr int kShortRepeats = 8;

struct Event {
  Event() { check_cuda(cudaEventCreate(&event), "gpu_stopwatch"); }
  ~Event() { cudaEventDestroy(event); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t event = nullptr;
};

/// One for each piece of work; the events and graphs live as long as it.
class Stopwatch {
 public:
  Stopwatch(at::Device device, std::function<void()> work)
      : device_(device),
        work_(std::move(work)),
        stream_(c10::cuda::getStreamFromPool(false, device.index())),
        // Twice the L2, at least 128 MB.
        other_(at::zeros(
            {std::max<int64_t>(2 * at::cuda::getDeviceProperties(device.index())->l2CacheSize,
                               int64_t{128} << 20) /
             4},
            at::device(device).dtype(at::kFloat))),
        sum_(at::empty({}, other_.options())) {
    const c10::cuda::CUDAGuard on_device(device_.index());
    c10::cuda::device_synchronize();
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    for (int i = 0; i < 3; ++i) work_();  // autotuning, workspaces, lazy loading of modules
    fill();
    c10::cuda::device_synchronize();
    const double once = seconds_of([this] { work_(); });
    repeats_ = once < kShortSeconds ? kShortRepeats : 1;
    graph_ = capture(with_work_, [this] {
      for (int i = 0; i < repeats_; ++i) {
        if (repeats_ > 1) fill();
        work_();
      }
    });
    if (graph_ && repeats_ > 1) {
      graph_ = capture(without_work_, [this] {
        for (int i = 0; i < repeats_; ++i) fill();
      });
    }
    c10::cuda::device_synchronize();
  }

  bool graph() const { return graph_; }

  double seconds() {
    const c10::cuda::CUDAGuard on_device(device_.index());
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    if (!graph_ || repeats_ == 1) {
      fill();
      return seconds_of([this] { graph_ ? with_work_.replay() : work_(); });
    }
    const double both = seconds_of([this] { with_work_.replay(); });
    const double fills = seconds_of([this] { without_work_.replay(); });
    return std::max(both - fills, 1e-8) / repeats_;
  }

 private:
  void fill() { at::sum_out(sum_, other_, at::OptionalIntArrayRef{}, false, std::nullopt); }

  template <class Run>
  double seconds_of(Run&& run) {
    check_cuda(cudaEventRecord(start_.event, stream_.stream()), "gpu_stopwatch");
    run();
    check_cuda(cudaEventRecord(stop_.event, stream_.stream()), "gpu_stopwatch");
    check_cuda(cudaEventSynchronize(stop_.event), "gpu_stopwatch");
    float milliseconds = 0.0F;
    check_cuda(cudaEventElapsedTime(&milliseconds, start_.event, stop_.event), "gpu_stopwatch");
    return 1e-3 * milliseconds;
  }

  /// returns  whether `run` can be captured
  static bool capture(at::cuda::CUDAGraph& graph, const std::function<void()>& run) {
    bool captured = true;
    graph.capture_begin();
    try {
      run();
    } catch (const std::exception&) {
      captured = false;
    }
    try {
      graph.capture_end();
      if (captured) graph.replay();
    } catch (const std::exception&) {
      captured = false;
    }
    if (!captured) cudaGetLastError();  // a broken capture leaves its error behind
    return captured;
  }

  at::Device device_;
  std::function<void()> work_;
  c10::cuda::CUDAStream stream_;  // not the default one: that cannot be captured
  at::Tensor other_, sum_;
  Event start_, stop_;
  at::cuda::CUDAGraph with_work_, without_work_;
  int repeats_ = 1;
  bool graph_ = false;
};

}  // namespace

GpuStopwatch make_stopwatch(at::Device device, std::function<void()> work) {
  const auto stopwatch = std::make_shared<Stopwatch>(device, std::move(work));
  return {[stopwatch] { return stopwatch->seconds(); }, stopwatch->graph()};
}

GpuDescription describe_gpu(at::Device device) {
  const cudaDeviceProp& properties = *at::cuda::getDeviceProperties(device.index());
  GpuDescription gpu;
  gpu.name = properties.name;
  gpu.capability = properties.major * 10 + properties.minor;
  gpu.multiprocessors = properties.multiProcessorCount;
  gpu.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  gpu.cache_bytes = properties.l2CacheSize;
  check_cuda(cudaDriverGetVersion(&gpu.driver), "describe_gpu");
  check_cuda(cudaRuntimeGetVersion(&gpu.runtime), "describe_gpu");
  return gpu;
}

}  // namespace lexel::kernels::cuda
