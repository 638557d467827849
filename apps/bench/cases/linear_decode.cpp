#include "kernels/linear_decode.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_weight_int8pack_mm.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <memory>

#include "apps/bench/case.h"
#include "kernels/check.h"

namespace lexel::bench {
namespace {

using kernels::Activation;
using kernels::DecodeWeights;
using kernels::LinearDecodeOptions;
using kernels::WeightFormat;

/// All matrices of one decode step: each layer's q k v, output, up and down projection, and the logits.
/// tests/bench/peers/ggml_q8_bench.cpp times the same.
struct Decoder {
  int64_t layers, width, codes;
};
constexpr Decoder kSmall{10, 896, 8192};    // 104M weights
constexpr Decoder kLarge{24, 1024, 16384};  // 319M

using Size = std::pair<int64_t, int64_t>;  // outputs, inputs

std::vector<Size> sizes_of(const Decoder& decoder) {
  const int64_t d = decoder.width;
  std::vector<Size> sizes;
  for (int64_t layer = 0; layer < decoder.layers; ++layer) {
    sizes.insert(sizes.end(), {{3 * d, d}, {d, d}, {4 * d, d}, {d, 4 * d}});
  }
  sizes.emplace_back(decoder.codes, d);
  return sizes;
}

struct Setup {
  std::string name;
  std::vector<Size> sizes;
  WeightFormat format;
  int64_t group;
  int64_t batch;
};

struct Inputs {
  std::vector<DecodeWeights> weights;
  std::vector<at::Tensor> x, x_half;           // (B, I) of each matrix
  std::vector<at::Tensor> floats, halves;      // (O, I) float32, bfloat16
  std::vector<at::Tensor> bytes, byte_scales;  // (O, I) int8, (O) bfloat16
};

Inputs make_inputs(const Setup& setup, at::Device device) {
  Inputs inputs;
  for (const auto& [outputs, columns] : setup.sizes) {
    const at::Tensor weight = at::randn({outputs, columns}, at::kFloat).mul_(0.02).to(device);
    inputs.weights.push_back(kernels::pack_weights(weight, setup.format, setup.group));
    inputs.x.push_back(at::randn({setup.batch, columns}, at::kFloat).to(device));
    inputs.x_half.push_back(inputs.x.back().to(at::kBFloat16));
    inputs.floats.push_back(weight);
    inputs.halves.push_back(weight.to(at::kBFloat16));
    if (!device.is_cpu()) continue;
    const at::Tensor scale = weight.abs().amax(1, /*keepdim=*/true).div(127);
    inputs.bytes.push_back(weight.div(scale).round().to(at::kChar));
    inputs.byte_scales.push_back(scale.flatten().to(at::kBFloat16));
  }
  return inputs;
}

/// The first matrices against float64.
std::string compare(const Inputs& inputs) {
  double worst = 0.0;
  for (size_t i = 0; i < std::min<size_t>(4, inputs.x.size()); ++i) {
    const at::Tensor wanted = kernels::linear_decode_reference(inputs.x[i], inputs.weights[i]);
    const at::Tensor got = kernels::linear_decode(inputs.x[i], inputs.weights[i]);
    worst = std::max(worst, got.sub(wanted).abs().max().div(wanted.abs().max()).item<double>());
  }
  // CUDA's tensor cores take x as bfloat16.
  check(worst < (inputs.x[0].is_cpu() ? 1e-5 : 1e-2), ErrorKind::kInternal,
        "linear_decode: off float64 by ", worst, " of the largest");
  return concat("off float64 by ", worst, " of the largest");
}

Runs prepare(const Setup& setup, at::Device device) {
  const at::NoGradGuard no_grad;
  const auto inputs = std::make_shared<Inputs>(make_inputs(setup, device));
  const auto each = [inputs](const auto& run) {
    return [inputs, run] {
      const at::NoGradGuard no_gradients;
      for (size_t i = 0; i < inputs->x.size(); ++i) run(*inputs, i);
    };
  };
  Runs runs;
  runs.check = [inputs] { return compare(*inputs); };
  runs.ours = {"linear_decode", each([](const Inputs& in, size_t i) {
                 kernels::linear_decode(in.x[i], in.weights[i]);
               })};
  runs.peers.push_back({"LibTorch linear, float32", each([](const Inputs& in, size_t i) {
                          at::linear(in.x[i], in.floats[i]);
                        })});
  runs.peers.push_back({"LibTorch linear, bfloat16", each([](const Inputs& in, size_t i) {
                          at::linear(in.x_half[i], in.halves[i]);
                        })});
  if (device.is_cpu() && setup.format == WeightFormat::kInt8) {
    runs.peers.push_back(
        {"LibTorch _weight_int8pack_mm, x bfloat16", each([](const Inputs& in, size_t i) {
           at::_weight_int8pack_mm(in.x_half[i], in.bytes[i], in.byte_scales[i]);
         })});
  }
  return runs;
}

double bytes_of(const Setup& setup) {
  double bytes = 0.0;
  for (const auto& [outputs, columns] : setup.sizes) {
    const double each = setup.format == WeightFormat::kFloat32    ? 4.0
                        : setup.format == WeightFormat::kBFloat16 ? 2.0
                        : setup.group == 0                        ? 1.0
                                           : 1.0 + 4.0 / static_cast<double>(setup.group);
    bytes += each * static_cast<double>(outputs * columns);
  }
  return bytes;
}

/// One feed-forward half with everything around it: norm, up, gelu, down, residual.
Runs prepare_feed_forward(int64_t width, int64_t batch, at::Device device) {
  const at::NoGradGuard no_grad;
  struct Layer {
    at::Tensor x, norm_weight, norm_bias, up, up_bias, down, down_bias;
    DecodeWeights packed_up, packed_down;
  };
  const auto random = [device](at::IntArrayRef shape, double scale) {
    return at::randn(shape, at::kFloat).mul_(scale).to(device);
  };
  const auto layer = std::make_shared<Layer>();
  layer->x = random({batch, width}, 1.0);
  layer->norm_weight = random({width}, 1.0);
  layer->norm_bias = random({width}, 1.0);
  layer->up = random({4 * width, width}, 0.02);
  layer->up_bias = random({4 * width}, 1.0);
  layer->down = random({width, 4 * width}, 0.02);
  layer->down_bias = random({width}, 1.0);
  layer->packed_up = kernels::pack_weights(layer->up, WeightFormat::kInt8);
  layer->packed_down = kernels::pack_weights(layer->down, WeightFormat::kInt8);
  const auto ours = [layer](const auto& linear) {
    LinearDecodeOptions up, down;
    up.norm_weight = layer->norm_weight;
    up.norm_bias = layer->norm_bias;
    up.bias = layer->up_bias;
    up.activation = Activation::kGelu;
    down.bias = layer->down_bias;
    down.residual = layer->x;
    return linear(linear(layer->x, layer->packed_up, up), layer->packed_down, down);
  };
  Runs runs;
  runs.ours = {"linear_decode twice, int8", [ours] { ours(kernels::linear_decode); }};
  runs.peers.push_back(
      {"LibTorch layer_norm, linear, gelu, linear, add, float32", [layer, width] {
         const at::NoGradGuard no_gradients;
         const at::Tensor hidden = at::gelu(
             at::linear(at::layer_norm(layer->x, {width}, layer->norm_weight, layer->norm_bias),
                        layer->up, layer->up_bias),
             "tanh");
         at::linear(hidden, layer->down, layer->down_bias).add_(layer->x);
       }});
  runs.check = [ours, device] {
    const at::Tensor wanted = ours(kernels::linear_decode_reference);
    const at::Tensor got = ours(kernels::linear_decode);
    const double off = got.sub(wanted).abs().max().div(wanted.abs().max()).item<double>();
    check(off < (device.is_cpu() ? 1e-5 : 2e-2), ErrorKind::kInternal,
          "linear_decode: off float64 by ", off, " of the largest");
    return concat("off float64 by ", off, " of the largest");
  };
  return runs;
}

}  // namespace

std::vector<Case> linear_decode_cases(at::Device device) {
  const bool cuda = device.is_cuda();
  const std::vector<Size> stack = sizes_of(cuda ? kLarge : kSmall);
  const std::string name = cuda ? "stack of 319M" : "stack of 104M";
  const std::vector<Setup> setups{
      {name + ", int8, batch 1", stack, WeightFormat::kInt8, 0, 1},
      {name + ", int8, batch 2", stack, WeightFormat::kInt8, 0, 2},
      {name + ", int8 groups of 128, batch 2", stack, WeightFormat::kInt8, 128, 2},
      {name + ", int8, batch 16", stack, WeightFormat::kInt8, 0, 16},
      {name + ", bfloat16, batch 2", stack, WeightFormat::kBFloat16, 0, 2},
      {name + ", float32, batch 2", stack, WeightFormat::kFloat32, 0, 2},
      {"4096 x 1024, int8, batch 2", {{4096, 1024}}, WeightFormat::kInt8, 0, 2},
      {"1024 x 4096, bfloat16, batch 1", {{1024, 4096}}, WeightFormat::kBFloat16, 0, 1},
  };
  std::vector<Case> cases;
  for (const Setup& setup : setups) {
    cases.push_back({"linear_decode", setup.name, Ceiling::kRead, bytes_of(setup),
                     [setup, device] { return prepare(setup, device); }});
  }
  constexpr int64_t kWidth = 1024, kBatch = 2;
  cases.push_back({"linear_decode", "feed-forward of width 1024 with its norm, int8, batch 2",
                   Ceiling::kRead, 8.0 * kWidth * kWidth,
                   [device] { return prepare_feed_forward(kWidth, kBatch, device); }});
  return cases;
}

}  // namespace lexel::bench
