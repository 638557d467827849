#include "kernels/cuda/upfirdn.h"

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

void upfirdn2d(const at::Tensor& x, const UpfirdnPart& part, const at::Tensor& result) {
  const OnDevice device(x);
  if (x.scalar_type() == at::kBFloat16) {
    launch_upfirdn2d(part, reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>()),
                     reinterpret_cast<uint16_t*>(result.mutable_data_ptr<at::BFloat16>()),
                     device.stream());
  } else {
    launch_upfirdn2d(part, x.const_data_ptr<float>(), result.mutable_data_ptr<float>(),
                     device.stream());
  }
}

}  // namespace lexel::kernels::cuda
