#include "kernels/upfirdn.h"

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>
#include <vector>

#include "kernels/check.h"
#include "kernels/cpu/upfirdn.h"
#include "kernels/cuda/table.h"
#include "kernels/upfirdn_part.h"

namespace lexel::kernels {
namespace {

constexpr int64_t kMaxRate = 4;

struct Size {
  int64_t height, width;
};

Size output_size(const at::Tensor& x, const at::Tensor& filter, const UpfirdnOptions& o) {
  const auto size = [&](int64_t side, int64_t padding, int64_t taps) {
    const int64_t room = side * o.up + padding - taps;
    return room < 0 ? 0 : room / o.down + 1;
  };
  return {size(x.size(2), o.padding[2] + o.padding[3], filter.size(0)),
          size(x.size(3), o.padding[0] + o.padding[1], filter.size(1))};
}

void check_arguments(const char* function, const at::Tensor& x, const at::Tensor& filter,
                     const UpfirdnOptions& o) {
  check_arg(x.defined() && filter.defined(), function,
            "expected two tensors, got an undefined one");
  check_arg(x.dim() == 4, function, "expected x (B, C, H, W), got ", x.sizes());
  check_arg(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16 ||
                x.scalar_type() == at::kDouble,
            function, "expected x of float32, bfloat16 or float64, got ", x.scalar_type());
  check_arg(x.is_cpu() || x.is_cuda(), function, "expected a CPU or CUDA tensor, got one on ",
            x.device());
  check_arg(filter.dim() == 2 && filter.size(0) >= 1 && filter.size(0) <= kUpfirdnMaxSide &&
                filter.size(1) >= 1 && filter.size(1) <= kUpfirdnMaxSide,
            function, "expected a filter with sides in 1..", kUpfirdnMaxSide, ", got ",
            filter.sizes());
  check_arg(filter.scalar_type() == at::kFloat && filter.is_cpu(), function,
            "expected a float32 filter on the CPU, got ", filter.scalar_type(), " on ",
            filter.device());
  check_arg(o.up >= 1 && o.up <= kMaxRate, function, "expected up in 1..", kMaxRate, ", got ",
            o.up);
  check_arg(o.down >= 1 && o.down <= kMaxRate, function, "expected down in 1..", kMaxRate, ", got ",
            o.down);
  const Size size = output_size(x, filter, o);
  check_arg(size.height > 0 && size.width > 0, function, "expected a result, got none of ",
            x.sizes(), " with a filter of ", filter.sizes());
}

at::Tensor compute(const at::Tensor& input, const at::Tensor& filter, const UpfirdnOptions& o) {
  const auto format = input.suggest_memory_format();
  const at::Tensor x = input.contiguous(format);
  const bool channels_last = format == at::MemoryFormat::ChannelsLast;
  const Size size = output_size(x, filter, o);
  at::Tensor result =
      at::empty({x.size(0), x.size(1), size.height, size.width}, x.options(), format);
  if (result.numel() == 0) return result;
  UpfirdnPart part{.images = channels_last ? x.size(0) : x.size(0) * x.size(1),
                   .channels = channels_last ? x.size(1) : 1,
                   .height = x.size(2),
                   .width = x.size(3),
                   .out_height = size.height,
                   .out_width = size.width,
                   .up = o.up,
                   .down = o.down,
                   .left = o.padding[0],
                   .top = o.padding[2],
                   .filter_height = filter.size(0),
                   .filter_width = filter.size(1),
                   .filter = {}};
  const at::Tensor taps = filter.contiguous();
  std::copy_n(taps.const_data_ptr<float>(), taps.numel(), part.filter);
  if (const CudaKernels* const cuda = cuda_kernels_for(x)) {
    cuda->upfirdn2d(x, part, result);
  } else if (x.scalar_type() == at::kBFloat16) {
    cpu::upfirdn2d(part, reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>()),
                   reinterpret_cast<uint16_t*>(result.mutable_data_ptr<at::BFloat16>()));
  } else {
    cpu::upfirdn2d(part, x.const_data_ptr<float>(), result.mutable_data_ptr<float>());
  }
  return result;
}

/// The gradient of y[o] = sum_k f[k] z[o down + k - left], z[i up] = x[i], is the same sum with the filter turned round, up
/// and down exchanged, and left' = kw - 1 - left; right' makes its size that of x.
UpfirdnOptions transposed(const UpfirdnOptions& o, at::IntArrayRef filter, Size in, Size out) {
  const int64_t left = filter[1] - 1 - o.padding[0], top = filter[0] - 1 - o.padding[2];
  return {.up = o.down,
          .down = o.up,
          .padding = {left, (in.width - 1) * o.up + filter[1] - out.width * o.down - left, top,
                      (in.height - 1) * o.up + filter[0] - out.height * o.down - top}};
}

at::Tensor differentiable(const at::Tensor& x, const at::Tensor& filter,
                          const UpfirdnOptions& options);

struct UpfirdnFunction : torch::autograd::Function<UpfirdnFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& filter, const UpfirdnOptions& o) {
    at::Tensor result = compute(x.detach(), filter, o);
    const UpfirdnOptions back =
        transposed(o, filter.sizes(), {x.size(2), x.size(3)}, {result.size(2), result.size(3)});
    context->saved_data["filter"] = filter.flip({0, 1});
    context->saved_data["options"] = std::vector<int64_t>{
        back.up, back.down, back.padding[0], back.padding[1], back.padding[2], back.padding[3]};
    context->saved_data["channels_last"] =
        x.suggest_memory_format() == at::MemoryFormat::ChannelsLast;
    return result;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto o = context->saved_data["options"].toIntVector();
    const bool channels_last = context->saved_data["channels_last"].toBool();
    const at::Tensor gradient = gradients[0].contiguous(
        channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    return {differentiable(gradient, context->saved_data["filter"].toTensor(),
                           {.up = o[0], .down = o[1], .padding = {o[2], o[3], o[4], o[5]}}),
            at::Tensor(), at::Tensor()};
  }
};

at::Tensor differentiable(const at::Tensor& x, const at::Tensor& filter,
                          const UpfirdnOptions& options) {
  return UpfirdnFunction::apply(x, filter, options);
}

}  // namespace

at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& filter, const UpfirdnOptions& options) {
  check_arguments("upfirdn2d", x, filter, options);
  if (x.scalar_type() == at::kDouble) return upfirdn2d_reference(x, filter, options);
  return differentiable(x, filter.detach(), options);
}

at::Tensor upfirdn2d_reference(const at::Tensor& x, const at::Tensor& filter,
                               const UpfirdnOptions& o) {
  check_arguments("upfirdn2d_reference", x, filter, o);
  const int64_t height = x.size(2), width = x.size(3);
  at::Tensor z = x.to(at::kDouble).reshape({-1, height, 1, width, 1});
  z = at::constant_pad_nd(z, {0, o.up - 1, 0, 0, 0, o.up - 1});  // (B C, H, up, W, up)
  z = z.reshape({-1, 1, height * o.up, width * o.up});
  z = at::constant_pad_nd(z, o.padding);
  const at::Tensor taps = filter.detach().to(z.options()).unsqueeze(0).unsqueeze(0);
  z = at::convolution(z, taps, {}, {1, 1}, {0, 0}, {1, 1}, false, {0, 0}, 1);
  z = z.slice(2, 0, z.size(2), o.down).slice(3, 0, z.size(3), o.down);
  return z.reshape({x.size(0), x.size(1), z.size(2), z.size(3)})
      .to(x.scalar_type(), false, false, x.suggest_memory_format());
}

}  // namespace lexel::kernels
