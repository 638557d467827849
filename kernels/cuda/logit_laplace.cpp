#include "kernels/cuda/logit_laplace.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/cuda/glue.h"
#include "kernels/cuda/on_device.h"

namespace lexel::kernels::cuda {

LogitLaplace logit_laplace(const at::Tensor& output, const at::Tensor& images, bool with_gradient) {
  const OnDevice device(output);
  LogitLaplace result{at::empty({}, output.options()),
                      with_gradient ? at::empty_like(output) : at::Tensor()};
  const int64_t pictures = images.size(0), values = images.numel() / pictures;
  const int64_t runs = (values + kLaplaceRun - 1) / kLaplaceRun;
  const at::Tensor sums = at::empty({pictures * runs}, output.options().dtype(at::kDouble));
  launch_logit_laplace({output.const_data_ptr<float>(), images.const_data_ptr<float>(), pictures,
                        values, sums.mutable_data_ptr<double>(),
                        with_gradient ? result.gradient.mutable_data_ptr<float>() : nullptr,
                        result.loss.mutable_data_ptr<float>()},
                       device.stream());
  return result;
}

}  // namespace lexel::kernels::cuda
