// The plugin's kernels/cuda/on_device.cpp, for an emulated device.

#include "kernels/cuda/on_device.h"

#include "tests/cuda_emulator/block.h"

namespace lexel::kernels::cuda {

OnDevice::OnDevice(const at::Tensor&) : previous_(0), stream_(nullptr) {}
OnDevice::~OnDevice() = default;

DeviceLimits limits_of(const at::Tensor&) {
  return {cuda_emulator::settings().capability, cuda_emulator::settings().multiprocessors};
}

}  // namespace lexel::kernels::cuda
