#include "spae/cnn.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <cmath>
#include <cstdint>
#include <string>

#include "spae/pyramid.h"
#include "spae/quantizer.h"

namespace lexel::spae {
namespace {

/// Collects parameters under a prefix.
struct Lister {
  std::string group;
  ParameterList& list;

  void convolution(const std::string& name, Convolution& convolution, int64_t outputs,
                   int64_t inputs, int64_t kernel, bool bias) const {
    const double std = 1.0 / std::sqrt(static_cast<double>(inputs * kernel * kernel));
    list.push_back({name + ".weight",
                    {outputs, inputs, kernel, kernel},
                    Init::normal(std),
                    &convolution.weight,
                    group});
    if (!bias) return;
    list.push_back(
        {name + ".bias", {outputs}, Init::zeros(), &convolution.bias, group, /*decay=*/false});
  }

  void norm(const std::string& name, vqgan::LayerNorm& norm, int64_t channels) const {
    list.push_back(
        {name + ".weight", {channels}, Init::ones(), &norm.weight, group, /*decay=*/false});
    list.push_back({name + ".bias", {channels}, Init::zeros(), &norm.bias, group, /*decay=*/false});
  }

  void blocks(const std::string& name, std::vector<CnnBlock>& blocks, int64_t count,
              int64_t outputs, int64_t inputs) const {
    blocks.resize(static_cast<size_t>(count));
    for (size_t i = 0; i < blocks.size(); ++i) {
      const std::string prefix = name + "." + std::to_string(i);
      CnnBlock& block = blocks[i];
      norm(prefix + ".first_norm", block.first_norm, inputs);
      convolution(prefix + ".first", block.first, outputs, inputs, 3, /*bias=*/false);
      norm(prefix + ".second_norm", block.second_norm, outputs);
      convolution(prefix + ".second", block.second, outputs, outputs, 3, /*bias=*/false);
      if (inputs != outputs) {
        convolution(prefix + ".shortcut", block.shortcut, outputs, inputs, 1, /*bias=*/false);
      }
      inputs = outputs;
    }
  }
};

std::vector<int64_t> channels_of(const CnnConfig& cnn) {
  std::vector<int64_t> channels = numbers("cnn.multipliers", cnn.multipliers);
  for (int64_t& scale : channels) scale *= cnn.width;
  return channels;
}

at::Tensor apply(const Convolution& convolution, const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  const auto weight = convolution.weight.to(type).contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t padding = convolution.weight.size(2) / 2;
  return at::conv2d(x.contiguous(at::MemoryFormat::ChannelsLast), weight,
                    convolution.bias.defined() ? convolution.bias.to(type) : at::Tensor(),
                    /*stride=*/1, padding);
}

/// swish(norm(x)), in x's dtype; statistics in float32.
at::Tensor activate(const vqgan::LayerNorm& norm, int64_t groups, const at::Tensor& x) {
  return at::silu(at::group_norm(x.to(at::kFloat), groups, norm.weight, norm.bias, 1e-6))
      .to(x.scalar_type());
}

at::Tensor run_blocks(const std::vector<CnnBlock>& blocks, int64_t groups, at::Tensor x) {
  for (const CnnBlock& block : blocks) {
    const at::Tensor inner = apply(block.first, activate(block.first_norm, groups, x));
    const at::Tensor outer = apply(block.second, activate(block.second_norm, groups, inner));
    x = (block.shortcut.weight.defined() ? apply(block.shortcut, x) : x) + outer;
  }
  return x;
}

}  // namespace

void list_cnn_encoder(CnnBody& body, const Config& config, ParameterList& list) {
  const Lister add{"encoder", list};
  const std::vector<int64_t> channels = channels_of(config.cnn);
  CnnEncoder& encoder = body.encoder;
  add.convolution("encoder.in", encoder.in, channels.front(), 3, 3, /*bias=*/true);
  encoder.scales.resize(channels.size());
  int64_t inputs = channels.front();
  for (size_t i = 0; i < channels.size(); ++i) {
    add.blocks("encoder.scales." + std::to_string(i) + ".blocks", encoder.scales[i].blocks,
               config.cnn.blocks, channels[i], inputs);
    inputs = channels[i];
  }
  add.blocks("encoder.middle", encoder.middle, config.cnn.blocks, inputs, inputs);
  add.norm("encoder.norm", encoder.norm, inputs);
  add.convolution("encoder.out", encoder.out, config.code_width, inputs, 1, /*bias=*/true);
}

void list_cnn_decoder(CnnBody& body, const Config& config, ParameterList& list) {
  const Lister add{"decoder", list};
  const std::vector<int64_t> channels = channels_of(config.cnn);
  const int64_t marks = mark_width(make_pyramid(numbers("sides", config.sides)));
  CnnDecoder& decoder = body.decoder;
  int64_t inputs = channels.back();
  add.convolution("decoder.in", decoder.in, inputs, config.code_width + marks, 3, /*bias=*/true);
  add.blocks("decoder.middle", decoder.middle, config.cnn.blocks, inputs, inputs);
  decoder.scales.resize(channels.size());
  for (size_t i = 0; i < channels.size(); ++i) {
    const std::string prefix = "decoder.scales." + std::to_string(i);
    const int64_t outputs = channels[channels.size() - 1 - i];
    add.blocks(prefix + ".blocks", decoder.scales[i].blocks, config.cnn.blocks, outputs, inputs);
    inputs = outputs;
    if (i + 1 < channels.size()) {
      add.convolution(prefix + ".up", decoder.scales[i].up, inputs, inputs, 3, /*bias=*/true);
    }
  }
  add.norm("decoder.norm", decoder.norm, inputs);
  add.convolution("decoder.out", decoder.out, 3, inputs, 3, /*bias=*/true);
}

at::Tensor cnn_latents(const CnnBody& body, const Config& config, const at::Tensor& images,
                       at::ScalarType compute) {
  const CnnEncoder& encoder = body.encoder;
  const int64_t groups = config.cnn.groups;
  at::Tensor x = apply(encoder.in, (images - config.pixel_center).to(compute));
  for (size_t i = 0; i < encoder.scales.size(); ++i) {
    if (i > 0) x = at::avg_pool2d(x, {2, 2});
    x = run_blocks(encoder.scales[i].blocks, groups, x);
  }
  x = activate(encoder.norm, groups, run_blocks(encoder.middle, groups, x));
  return apply(encoder.out, x).to(at::kFloat).flatten(2).transpose(1, 2);  // (B, P, D)
}

at::Tensor cnn_pictures(const CnnBody& body, const Config& config, const at::Tensor& inputs,
                        at::ScalarType compute) {
  const CnnDecoder& decoder = body.decoder;
  const int64_t groups = config.cnn.groups;
  const auto grid = static_cast<int64_t>(std::llround(std::sqrt(inputs.size(1))));
  at::Tensor x =
      inputs.to(compute).transpose(1, 2).reshape({inputs.size(0), inputs.size(2), grid, grid});
  x = run_blocks(decoder.middle, groups, apply(decoder.in, x));
  for (size_t i = 0; i < decoder.scales.size(); ++i) {
    x = run_blocks(decoder.scales[i].blocks, groups, x);
    if (!decoder.scales[i].up.weight.defined()) continue;
    x = apply(decoder.scales[i].up, at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}));
  }
  x = apply(decoder.out, activate(decoder.norm, groups, x));
  return x.to(at::kFloat).contiguous() + config.pixel_center;
}

}  // namespace lexel::spae
