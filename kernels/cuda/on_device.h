#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

/// Makes the tensor's device the current one for the scope, and names its current stream. Two files define it:
/// on_device.cpp in the plugin, and the emulator's in the tests.
class OnDevice {
 public:
  explicit OnDevice(const at::Tensor& tensor);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  Stream stream() const { return stream_; }

 private:
  int previous_;  // device index
  Stream stream_;
};

/// The device's compute capability, 90 for an H100, and its number of multiprocessors.
struct DeviceLimits {
  int capability;
  int multiprocessors;
};
DeviceLimits limits_of(const at::Tensor& tensor);

}  // namespace lexel::kernels::cuda
