#include "kernels/cuda/adamw.h"

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

void adamw(const at::Tensor& where, std::span<const AdamWPart> parts) {
  const OnDevice device(where);
  launch_adamw(parts, device.stream());
}

}  // namespace lexel::kernels::cuda
