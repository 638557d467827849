#pragma once

#include <c10/core/Device.h>
#include <cstdint>
#include <functional>
#include <string>

namespace lexel::kernels {

/// Times one piece of work on a GPU.
struct GpuStopwatch {
  std::function<double()> seconds;  // of one call, on a cold L2 cache; runs the work several times
  bool graph =
      false;  // replayed from a CUDA graph; else called, and the time of starting its kernels counts
};

/// The work is called a few times now, then captured into a CUDA graph; work that cannot be captured (it waits for the
/// GPU) is called each time. Work that fails on the first call throws what it throws.
///
/// work     runs on the device's current stream; kept by the result, as what it refers to must be
/// throws   Error(kUnsupported) when there is no CUDA plugin
GpuStopwatch make_gpu_stopwatch(at::Device device, std::function<void()> work);

struct GpuDescription {
  std::string name;    // "NVIDIA H100 80GB HBM3"
  int capability = 0;  // 90
  int multiprocessors = 0;
  int64_t memory_bytes = 0, cache_bytes = 0;  // cache: L2
  int driver = 0,
      runtime =
          0;  // CUDA versions, 13000 for 13.0: what the driver allows, what the plugin runs on
};

/// throws   Error(kUnsupported) when there is no CUDA plugin
GpuDescription describe_gpu(at::Device device);

}  // namespace lexel::kernels
