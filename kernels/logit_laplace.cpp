#include "kernels/logit_laplace.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>
#include <ATen/ops/logit.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/check.h"
#include "kernels/cpu/logit_laplace.h"
#include "kernels/cuda/table.h"

namespace lexel::kernels {
namespace {

void check_shapes(const char* function, const at::Tensor& output, const at::Tensor& images) {
  check_arg(output.defined() && images.defined(), function,
            "expected two tensors, got an undefined one");
  check_arg(output.dim() == 4 && output.size(1) == 6, function, "expected (B, 6, H, W) maps, got ",
            output.sizes());
  check_arg(images.dim() == 4 && images.size(1) == 3 && images.size(0) == output.size(0) &&
                images.size(2) == output.size(2) && images.size(3) == output.size(3),
            function, "expected pictures of the maps' size, got ", images.sizes(), " for ",
            output.sizes());
  check_arg(images.numel() > 0, function, "expected pictures, got ", images.sizes());
}

void check_arguments(const char* function, const at::Tensor& output, const at::Tensor& images) {
  check_shapes(function, output, images);
  for (const at::Tensor& x : {output, images}) {
    check_arg(x.scalar_type() == at::kFloat, function, "expected float32, got ", x.scalar_type());
    check_arg(x.is_contiguous(), function, "expected contiguous tensors, got strides ",
              x.strides());
    check_arg(x.device() == output.device() && (x.is_cpu() || x.is_cuda()), function,
              "expected one CPU or CUDA device, got ", output.device(), " and ", x.device());
  }
}

LogitLaplace compute(const at::Tensor& output, const at::Tensor& images, bool with_gradient) {
  if (const CudaKernels* const cuda = cuda_kernels_for(output)) {
    return cuda->logit_laplace(output, images, with_gradient);
  }
  LogitLaplace result{at::empty({}, output.options()),
                      with_gradient ? at::empty_like(output) : at::Tensor()};
  *result.loss.mutable_data_ptr<float>() =
      cpu::logit_laplace(output.const_data_ptr<float>(), images.const_data_ptr<float>(),
                         images.size(0), images.numel() / images.size(0),
                         with_gradient ? result.gradient.mutable_data_ptr<float>() : nullptr);
  return result;
}

struct LossFunction : torch::autograd::Function<LossFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& output,
                            const at::Tensor& images) {
    const LogitLaplace result = compute(output.detach(), images.detach(), output.requires_grad());
    context->save_for_backward({result.gradient});
    return result.loss;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    check(!at::GradMode::is_enabled(), ErrorKind::kUsage,
          "logit_laplace_loss: it has no second derivative, and create_graph asks for one");
    return {gradients[0] * context->get_saved_variables()[0], at::Tensor()};
  }
};

}  // namespace

at::Tensor logit_laplace_loss(const at::Tensor& output, const at::Tensor& images) {
  check_arguments("logit_laplace_loss", output, images);
  return LossFunction::apply(output, images);
}

at::Tensor logit_laplace_loss_reference(const at::Tensor& output, const at::Tensor& images) {
  check_shapes("logit_laplace_loss_reference", output, images);
  const at::Tensor maps = output.to(at::kDouble);
  const at::Tensor mu = maps.narrow(1, 0, 3), log_b = maps.narrow(1, 3, 3);  // (B, 3, H, W)
  const at::Tensor x = images.to(at::kDouble).clamp(0, 1) * 0.8 + 0.1;       // x', in [0.1, 0.9]
  const at::Tensor constant = (2 * x * (1 - x)).log();
  return ((at::logit(x) - mu).abs() * (-log_b).exp() + log_b + constant).mean();
}

}  // namespace lexel::kernels
