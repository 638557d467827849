#include "kernels/cuda/on_device.h"

#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

namespace lexel::kernels::cuda {

OnDevice::OnDevice(const at::Tensor& tensor)
    : previous_(c10::cuda::current_device()),
      stream_(c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream()) {
  c10::cuda::set_device(tensor.device().index());
}

OnDevice::~OnDevice() { c10::cuda::set_device(static_cast<c10::DeviceIndex>(previous_)); }

DeviceLimits limits_of(const at::Tensor& tensor) {
  const cudaDeviceProp* const properties = at::cuda::getDeviceProperties(tensor.device().index());
  return {properties->major * 10 + properties->minor, properties->multiProcessorCount};
}

}  // namespace lexel::kernels::cuda
