#include "autoregressive/parallel/nccl_backend.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

// Part of the CUDA plugin: who stays on the CPU never loads NCCL. Compiled and linked where the plugin is; it has run on no
// GPU yet.

c10d::Backend* lexel_nccl_backend(c10d::Store* store, int rank, int size, int64_t timeout_ms) {
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::milliseconds(timeout_ms);
  auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(
      c10::intrusive_ptr<c10d::Store>::reclaim_copy(store), rank, size, options);
  return group.release();  // the caller owns it
}
