#include "kernels/upfirdn.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/autograd/autograd.h>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

at::Tensor binomial() {  // [1 3 3 1] x [1 3 3 1] / 64
  const at::Tensor row = at::tensor({1.0f, 3.0f, 3.0f, 1.0f}) / 8;
  return row.unsqueeze(1) * row;
}

/// The same by a depthwise convolution, halved by slices (a strided one has a slow gradient on CPUs).
at::Tensor blur_by_aten(const at::Tensor& x, const kernels::UpfirdnOptions& o) {
  const at::Tensor filter = binomial().to(x.options()).expand({x.size(1), 1, 4, 4});
  const int64_t padding = o.padding[0];
  const at::Tensor y =
      at::convolution(x, filter, {}, {1, 1}, {padding, padding}, {1, 1}, false, {0, 0}, x.size(1));
  if (o.down == 1) return y;
  return y.slice(2, 0, y.size(2), o.down)
      .slice(3, 0, y.size(3), o.down)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

enum class Order { kForward, kBackward, kSecond };

/// Forward; forward and backward; or, as R1 needs it, the gradient's gradient too.
template <class Blur>
at::Tensor differentiate(const Blur& blur, const at::Tensor& x, Order order) {
  const at::Tensor y = blur(x);
  if (order == Order::kForward) return y;
  const at::Tensor sum = (y * y).sum();
  const at::Tensor slope =
      torch::autograd::grad({sum}, {x}, {}, true, /*create_graph=*/order == Order::kSecond)[0];
  if (order == Order::kBackward) return slope;
  return torch::autograd::grad({slope.square().sum()}, {x})[0];
}

Case make_case(const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype,
               const kernels::UpfirdnOptions& options, Order order, at::Device device) {
  const auto prepare = [=] {
    const at::Tensor x = at::empty(shape, device)
                             .normal_()
                             .to(dtype)
                             .contiguous(at::MemoryFormat::ChannelsLast)
                             .requires_grad_(order != Order::kForward);
    const auto ours = [=](const at::Tensor& v) {
      return kernels::upfirdn2d(v, binomial(), options);
    };
    const auto theirs = [=](const at::Tensor& v) { return blur_by_aten(v, options); };
    Runs runs;
    runs.check = [=] {
      const at::Tensor wanted =
          kernels::upfirdn2d_reference(x.to(at::kDouble), binomial(), options);
      const double difference =
          (ours(x) - wanted).abs().max().item<double>() / wanted.abs().max().item<double>();
      // bfloat16 rounds by up to 2^-8.
      check(difference < (dtype == at::kFloat ? 1e-6 : 4.2e-3), ErrorKind::kInternal,
            "upfirdn2d: ", difference, " from float64");
      return concat("within ", difference, " of float64");
    };
    runs.ours = {"upfirdn2d", [=] { differentiate(ours, x, order); }};
    runs.peers.push_back(
        {"LibTorch depthwise convolution", [=] { differentiate(theirs, x, order); }});
    return runs;
  };
  double values = dtype == at::kFloat ? 4 : 2;
  for (const int64_t side : shape) values *= static_cast<double>(side);
  const double passes = order == Order::kForward ? 1 : order == Order::kBackward ? 4 : 8;
  const double result = options.down == 1 ? 1.0 : 0.25;
  return {"upfirdn", name, Ceiling::kRead, values * passes * (1 + result), prepare};
}

}  // namespace

std::vector<Case> upfirdn_cases(at::Device device) {
  const kernels::UpfirdnOptions blur{.padding = {2, 2, 2, 2}};
  const kernels::UpfirdnOptions halve{.down = 2, .padding = {1, 1, 1, 1}};
  const std::vector<int64_t> shape = device.is_cuda() ? std::vector<int64_t>{32, 128, 128, 128}
                                                      : std::vector<int64_t>{8, 16, 128, 128};
  const auto size = concat(shape[0], " x ", shape[1], " x ", shape[2], " x ", shape[3]);
  return {
      make_case("4 x 4 blur, " + size, shape, at::kFloat, blur, Order::kForward, device),
      make_case("4 x 4 blur, bfloat16, " + size, shape, at::kBFloat16, blur, Order::kForward,
                device),
      make_case("4 x 4 blur and halve, " + size, shape, at::kFloat, halve, Order::kForward, device),
      make_case("blur, and backward, " + size, shape, at::kFloat, blur, Order::kBackward, device),
      make_case("blur, and backward, bfloat16, " + size, shape, at::kBFloat16, blur,
                Order::kBackward, device),
      make_case("blur and halve, and backward, " + size, shape, at::kFloat, halve, Order::kBackward,
                device),
      make_case("blur, and twice backward, " + size, shape, at::kFloat, blur, Order::kSecond,
                device),
  };
}

}  // namespace lexel::bench
