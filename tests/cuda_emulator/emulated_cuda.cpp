#include "tests/support/emulated_cuda.h"

#include <ATen/Context.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/table.h"

namespace lexel::tests {
namespace {

const kernels::CudaKernels& emulated_cuda_kernels() {
  static const kernels::CudaKernels table = kernels::cuda::make_table([] { return 1; });
  return table;
}

}  // namespace

OnEmulatedCuda::OnEmulatedCuda(int capability, uint64_t seed)
    : previous_(cuda_emulator::settings()),
      deterministic_before_(at::globalContext().deterministicAlgorithms()) {
  cuda_emulator::settings().capability = capability;
  cuda_emulator::settings().seed = seed;
  kernels::send_cpu_tensors_to(&emulated_cuda_kernels());
  // Deterministic mode fills what at::empty gives with NaN, and the largest integer: outputs that nobody wrote show.
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
}

OnEmulatedCuda::~OnEmulatedCuda() {
  at::globalContext().setDeterministicAlgorithms(deterministic_before_, /*warn_only=*/true);
  kernels::send_cpu_tensors_to(nullptr);
  cuda_emulator::settings() = previous_;
}

}  // namespace lexel::tests
