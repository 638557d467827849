#include "vqgan/perceptual.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/hardtanh.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rsqrt.h>
#include <algorithm>
#include <array>

#include "kernels/check.h"

namespace lexel::vqgan {
namespace {

struct Stage {
  int64_t blocks, kernel, stride, expansion, channels;
};

// Tan and Le 2019, Table 1: EfficientNet-B0, which Lite0 keeps.
constexpr std::array<Stage, 7> kStages = {{
    {1, 3, 1, 1, 16},
    {2, 3, 2, 6, 24},
    {2, 5, 2, 6, 40},
    {3, 3, 2, 6, 80},
    {3, 5, 1, 6, 112},
    {4, 5, 2, 6, 192},
    {1, 3, 1, 6, 320},
}};
constexpr int64_t kStemChannels = 32;
constexpr int64_t kHeadChannels = 1280;
constexpr int64_t kClasses = 1000;
constexpr double kBatchNormEpsilon = 1e-3;

/// Reads tensors by name and shape, and folds batch normalisations into the convolutions before
/// them.
class Reader {
 public:
  Reader(const std::map<std::string, at::Tensor>& tensors, at::ScalarType dtype, at::Device device)
      : tensors_(tensors), dtype_(dtype), device_(device) {}

  at::Tensor get(const std::string& name, at::IntArrayRef shape) const {
    const auto found = tensors_.find(name);
    check(found != tensors_.end(), ErrorKind::kBadData, "perceptual net: no tensor ", name);
    const at::Tensor& value = found->second;
    check(value.sizes() == shape, ErrorKind::kBadData, "perceptual net: expected ", name,
          " of shape ", shape, ", got ", value.sizes());
    const at::Tensor wide = value.detach().to(at::kCPU).to(at::kDouble);
    check(at::isfinite(wide).all().item<bool>(), ErrorKind::kBadData, "perceptual net: ", name,
          " is not finite");
    return wide;
  }

  at::Tensor store(const at::Tensor& value) const { return value.to(device_).to(dtype_); }

  PerceptualNet::Conv conv(const std::string& conv_name, const std::string& norm_name,
                           std::array<int64_t, 4> shape, int64_t stride, int64_t groups) const {
    const int64_t out = shape[0];
    const at::Tensor scale = get(norm_name + ".weight", {out}) *
                             at::rsqrt(get(norm_name + ".running_var", {out}) + kBatchNormEpsilon);
    const at::Tensor shift =
        get(norm_name + ".bias", {out}) - get(norm_name + ".running_mean", {out}) * scale;
    const at::Tensor weight = get(conv_name + ".weight", shape) * scale.reshape({out, 1, 1, 1});
    return {store(weight).contiguous(at::MemoryFormat::ChannelsLast), store(shift), stride, groups};
  }

 private:
  const std::map<std::string, at::Tensor>& tensors_;
  at::ScalarType dtype_;
  at::Device device_;
};

// Padding of TensorFlow's "SAME": ceil(size / stride) outputs, the odd pixel below and to the
// right.
int64_t same_padding(int64_t size, int64_t kernel, int64_t stride) {
  const int64_t outputs = (size + stride - 1) / stride;
  return std::max<int64_t>((outputs - 1) * stride + kernel - size, 0);
}

at::Tensor convolve(const PerceptualNet::Conv& conv, const at::Tensor& x, int64_t stride,
                    int64_t down, int64_t right) {
  return at::convolution(x, conv.weight, conv.bias, {stride, stride}, {down, right}, {1, 1},
                         /*transposed=*/false, {0, 0}, conv.groups);
}

// The same outputs from a convolution of stride 1, of which every other is kept. On a CPU the gradient of
// a strided depthwise convolution in bfloat16 takes so long that this saves a third of the whole backward pass.
at::Tensor convolve_then_halve(const PerceptualNet::Conv& conv, const at::Tensor& x, int64_t rows,
                               int64_t columns) {
  const int64_t half = conv.weight.size(2) / 2;
  const at::Tensor full = convolve(conv, x, 1, half, half);
  return full.slice(2, half - rows / 2, full.size(2), conv.stride)
      .slice(3, half - columns / 2, full.size(3), conv.stride)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor apply(const PerceptualNet::Conv& conv, const at::Tensor& x) {
  const int64_t kernel = conv.weight.size(2);
  const int64_t rows = same_padding(x.size(2), kernel, conv.stride);
  const int64_t columns = same_padding(x.size(3), kernel, conv.stride);
  if (conv.groups > 1 && conv.stride > 1 && x.is_cpu() && x.requires_grad() &&
      x.scalar_type() == at::kBFloat16) {
    return convolve_then_halve(conv, x, rows, columns);
  }
  if (rows % 2 == 0 && columns % 2 == 0) {
    return convolve(conv, x, conv.stride, rows / 2, columns / 2);
  }
  const at::Tensor padded =
      at::constant_pad_nd(x, {columns / 2, columns - columns / 2, rows / 2, rows - rows / 2}, 0);
  return convolve(conv, padded, conv.stride, 0, 0);
}

at::Tensor relu6(const at::Tensor& x) { return at::hardtanh(x, 0, 6); }

at::Tensor apply(const PerceptualNet::Block& block, const at::Tensor& x) {
  at::Tensor y = block.expand.empty() ? x : relu6(apply(block.expand[0], x));
  y = relu6(apply(block.depthwise, y));
  y = apply(block.project, y);
  return y.sizes() == x.sizes() ? y + x : y;
}

constexpr size_t kFirstDepth = 1, kLastDepth = 5;  // stages of depth_features

at::ScalarType result_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

PerceptualNet make_perceptual_net(const std::map<std::string, at::Tensor>& tensors,
                                  at::ScalarType dtype, at::Device device) {
  const Reader reader(tensors, dtype, device);
  PerceptualNet net;
  net.stem = reader.conv("_conv_stem", "_bn0", {kStemChannels, 3, 3, 3}, 2, 1);
  int64_t in = kStemChannels;
  for (const Stage& stage : kStages) {
    for (int64_t i = 0; i < stage.blocks; ++i) {
      const std::string prefix = concat("_blocks.", net.blocks.size(), ".");
      const int64_t wide = in * stage.expansion;
      PerceptualNet::Block block;
      if (stage.expansion != 1) {
        block.expand = {
            reader.conv(prefix + "_expand_conv", prefix + "_bn0", {wide, in, 1, 1}, 1, 1)};
      }
      block.depthwise =
          reader.conv(prefix + "_depthwise_conv", prefix + "_bn1",
                      {wide, 1, stage.kernel, stage.kernel}, i == 0 ? stage.stride : 1, wide);
      block.project = reader.conv(prefix + "_project_conv", prefix + "_bn2",
                                  {stage.channels, wide, 1, 1}, 1, 1);
      net.blocks.push_back(std::move(block));
      in = stage.channels;
    }
  }
  net.head = reader.conv("_conv_head", "_bn1", {kHeadChannels, in, 1, 1}, 1, 1);
  net.classifier_weight = reader.store(reader.get("_fc.weight", {kClasses, kHeadChannels}));
  net.classifier_bias = reader.store(reader.get("_fc.bias", {kClasses}));
  return net;
}

PerceptualNet perceptual_layout() {
  PerceptualNet net;
  net.stem.stride = 2;
  int64_t in = kStemChannels;
  for (const Stage& stage : kStages) {
    for (int64_t i = 0; i < stage.blocks; ++i) {
      PerceptualNet::Block block;
      if (stage.expansion != 1) block.expand.resize(1);
      block.depthwise.stride = i == 0 ? stage.stride : 1;
      block.depthwise.groups = in * stage.expansion;
      net.blocks.push_back(std::move(block));
      in = stage.channels;
    }
  }
  return net;
}

ParameterList parameters(PerceptualNet& net) {
  ParameterList list;
  const auto add = [&list](const std::string& name, std::vector<int64_t> shape,
                           at::Tensor& tensor) {
    list.push_back({name, std::move(shape), Init::zeros(), &tensor, /*group=*/"", /*decay=*/false,
                    /*trained=*/false});
  };
  const auto add_conv = [&add](const std::string& name, int64_t outputs, int64_t inputs,
                               int64_t kernel, PerceptualNet::Conv& conv) {
    add(name + ".weight", {outputs, inputs, kernel, kernel}, conv.weight);
    add(name + ".bias", {outputs}, conv.bias);
  };
  add_conv("stem", kStemChannels, 3, 3, net.stem);
  int64_t in = kStemChannels, number = 0;
  for (const Stage& stage : kStages) {
    for (int64_t i = 0; i < stage.blocks; ++i) {
      const std::string prefix = concat("blocks.", number, ".");
      PerceptualNet::Block& block = net.blocks[static_cast<size_t>(number++)];
      const int64_t wide = in * stage.expansion;
      if (!block.expand.empty()) add_conv(prefix + "expand", wide, in, 1, block.expand[0]);
      add_conv(prefix + "depthwise", wide, 1, stage.kernel, block.depthwise);
      add_conv(prefix + "project", stage.channels, wide, 1, block.project);
      in = stage.channels;
    }
  }
  add_conv("head", kHeadChannels, in, 1, net.head);
  add("classifier.weight", {kClasses, kHeadChannels}, net.classifier_weight);
  add("classifier.bias", {kClasses}, net.classifier_bias);
  return list;
}

std::vector<at::Tensor> features(const PerceptualNet& net, const at::Tensor& images) {
  check_arg(images.dim() == 4 && images.size(0) > 0 && images.size(1) == 3 &&
                images.size(2) >= 32 && images.size(3) >= 32,
            "features", "expected (B, 3, H, W) pictures of 32 pixels a side at least, got ",
            images.sizes());
  // The net's own scaling of bytes: (x - 127) / 128.
  at::Tensor x = images.mul(255.0 / 128).sub(127.0 / 128);
  x = x.to(net.stem.weight.scalar_type(), false, false, at::MemoryFormat::ChannelsLast);
  x = relu6(apply(net.stem, x));
  std::vector<at::Tensor> outputs;
  auto block = net.blocks.begin();
  for (const Stage& stage : kStages) {
    for (int64_t i = 0; i < stage.blocks; ++i) x = apply(*block++, x);
    outputs.push_back(x);
  }
  return outputs;
}

namespace {

/// Means over positions of the head's output on the last stage's.
at::Tensor pooled_head(const PerceptualNet& net, const at::Tensor& last) {
  return relu6(apply(net.head, last)).to(result_dtype(last.scalar_type())).mean({2, 3});
}

}  // namespace

at::Tensor pooled_features(const PerceptualNet& net, const at::Tensor& images) {
  return pooled_head(net, features(net, images).back());
}

at::Tensor depth_features(const PerceptualNet& net, const at::Tensor& images) {
  const std::vector<at::Tensor> stages = features(net, images);
  std::vector<at::Tensor> parts;
  for (size_t i = kFirstDepth; i <= kLastDepth; ++i)
    parts.push_back(stages[i].to(result_dtype(stages[i].scalar_type())).mean({2, 3}));
  parts.push_back(pooled_head(net, stages.back()));
  return at::cat(parts, 1);  // (B, 1728)
}

at::Tensor class_scores(const PerceptualNet& net, const at::Tensor& pooled) {
  return at::linear(pooled, net.classifier_weight.to(pooled.scalar_type()),
                    net.classifier_bias.to(pooled.scalar_type()));
}

at::Tensor classify(const PerceptualNet& net, const at::Tensor& images) {
  return class_scores(net, pooled_features(net, images));
}

at::Tensor feature_distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  check_arg(!a.empty() && a.size() == b.size(), "feature_distance",
            "expected two lists of one length, got ", a.size(), " and ", b.size());
  at::Tensor sum;
  for (size_t i = 0; i < a.size(); ++i) {
    check_arg(a[i].dim() == 4 && a[i].sizes() == b[i].sizes(), "feature_distance",
              "expected (B, C, h, w) maps of one shape, got ", a[i].sizes(), " and ", b[i].sizes());
    const auto unit = [](const at::Tensor& map) {
      const at::Tensor x = map.to(result_dtype(map.scalar_type()));
      return x * at::rsqrt(x.square().sum(1, /*keepdim=*/true) + 1e-10);
    };
    const at::Tensor distance = (unit(a[i]) - unit(b[i])).square().sum(1).mean({1, 2});  // (B)
    sum = sum.defined() ? sum + distance : distance;
  }
  return sum / static_cast<double>(a.size());
}

at::Tensor perceptual_loss(const PerceptualNet& net, const at::Tensor& reconstructions,
                           const at::Tensor& images) {
  check_arg(reconstructions.sizes() == images.sizes(), "perceptual_loss",
            "expected pictures of one shape, got ", reconstructions.sizes(), " and ",
            images.sizes());
  std::vector<at::Tensor> targets;
  {
    const at::NoGradGuard no_gradient;
    targets = features(net, images);
  }
  return feature_distance(features(net, reconstructions), targets).mean();
}

}  // namespace lexel::vqgan
