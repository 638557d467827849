#include "vqgan/discriminator.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/var.h>
#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/upfirdn.h"

namespace lexel::vqgan {
namespace {

constexpr int64_t kLastSide = 4;  // pixels a side of the last feature map

int64_t channels(const DiscriminatorConfig& config, int64_t side) {
  return std::min(config.max_channels, config.channel_base / side);
}

// Leaky ReLU that keeps the variance of its input: slope 0.2, gain sqrt 2.
at::Tensor activate(const at::Tensor& x) { return at::leaky_relu(x, 0.2) * std::sqrt(2.0); }

double equalised_gain(const at::Tensor& weight) {
  return 1.0 / std::sqrt(static_cast<double>(weight.numel() / weight.size(0)));
}

at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                    int64_t stride, int64_t padding) {
  return at::convolution(x, weight, bias, {stride, stride}, {padding, padding}, {1, 1},
                         /*transposed=*/false, {0, 0}, /*groups=*/1);
}

at::Tensor equalised_convolution(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, int64_t stride, int64_t padding) {
  const at::Tensor scaled = (weight * equalised_gain(weight)).to(x.scalar_type());
  return convolve(x, scaled, bias.defined() ? bias.to(x.scalar_type()) : bias, stride, padding);
}

at::Tensor equalised_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(x, weight * equalised_gain(weight), bias);
}

// The low-pass filter [1 3 3 1] x [1 3 3 1] / 64 on each channel, then every down-th pixel.
at::Tensor blur(const at::Tensor& x, int64_t padding, int64_t down = 1) {
  const at::Tensor row = at::tensor({1.0f, 3.0f, 3.0f, 1.0f}) / 8;
  return kernels::upfirdn2d(x, row.unsqueeze(1) * row,
                            {.down = down, .padding = {padding, padding, padding, padding}});
}

at::Tensor halve(const DownBlock& block, const at::Tensor& x) {
  at::Tensor y = activate(equalised_convolution(x, block.conv1_weight, block.conv1_bias, 1, 1));
  y = blur(y, 2);  // one pixel more a side, which the strided convolution uses up
  y = activate(equalised_convolution(y, block.conv2_weight, block.conv2_bias, 2, 0));
  // Halved before the 1x1 convolution, which then has a quarter of the pixels to do.
  const at::Tensor skip = equalised_convolution(blur(x, 1, 2), block.skip_weight, {}, 1, 0);
  return (y + skip) / std::sqrt(2.0);
}

// One more map: the standard deviation over a group of pictures, averaged over channels and
// positions.
at::Tensor append_spread(const at::Tensor& x, int64_t group_size) {
  const int64_t group = std::min(group_size, x.size(0));
  const at::Tensor grouped = x.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat)
                                 .reshape({group, -1, x.size(1), x.size(2), x.size(3)});
  const at::Tensor deviation = at::sqrt(at::var(grouped, at::IntArrayRef{0}, false) + 1e-8);
  const at::Tensor spread = deviation.mean({1, 2, 3});  // (B / group)
  const at::Tensor map = spread.repeat({group}).to(x.scalar_type()).reshape({-1, 1, 1, 1});
  return at::cat({x, map.expand({x.size(0), 1, x.size(2), x.size(3)})}, 1);
}

}  // namespace

void validate(const DiscriminatorConfig& config) {
  const int64_t side = config.image_size;
  check_arg(side >= 8 && side <= 4096 && (side & (side - 1)) == 0, "DiscriminatorConfig",
            "expected image_size a power of two in 8..4096, got ", side);
  check_arg(config.channel_base >= side && config.channel_base <= (int64_t{1} << 24),
            "DiscriminatorConfig", "expected channel_base in image_size..2^24, got ",
            config.channel_base);
  check_arg(config.max_channels >= 1 && config.max_channels <= 8192, "DiscriminatorConfig",
            "expected max_channels in 1..8192, got ", config.max_channels);
  check_arg(config.group >= 1, "DiscriminatorConfig", "expected group >= 1, got ", config.group);
}

DiscriminatorConfig stylegan2_discriminator() { return {}; }

DiscriminatorConfig small_discriminator() {
  return {.image_size = 128, .channel_base = 2048, .max_channels = 128, .group = 4};
}

int64_t parameter_count(const DiscriminatorConfig& config) {
  validate(config);
  int64_t in = channels(config, config.image_size);
  int64_t count = 3 * in + in;  // stem
  for (int64_t side = config.image_size; side > kLastSide; side /= 2) {
    const int64_t out = channels(config, side / 2);
    count += 9 * in * in + in + 9 * in * out + out + in * out;
    in = out;
  }
  count += 9 * (in + 1) * in + in;  // final convolution
  count += kLastSide * kLastSide * in * in + in + in + 1;
  return count;
}

Discriminator make_discriminator(const DiscriminatorConfig& config, uint64_t seed,
                                 at::Device device) {
  validate(config);
  Discriminator discriminator;
  discriminator.config = config;
  discriminator.blocks.resize(
      static_cast<size_t>(std::llround(std::log2(config.image_size / kLastSide))));
  initialise(parameters(discriminator), seed, device);
  return discriminator;
}

ParameterList parameters(Discriminator& discriminator) {
  const DiscriminatorConfig& config = discriminator.config;
  ParameterList list;
  const auto add = [&list](const std::string& name, at::Tensor& weight, at::Tensor* bias,
                           std::vector<int64_t> shape) {
    const int64_t out = shape[0];
    list.push_back(
        {name + ".weight", std::move(shape), Init::normal(1.0), &weight, "", true, true});
    if (bias) list.push_back({name + ".bias", {out}, Init::zeros(), bias, "", false, true});
  };
  int64_t side = config.image_size;
  int64_t in = channels(config, side);
  add("stem", discriminator.stem_weight, &discriminator.stem_bias, {in, 3, 1, 1});
  for (size_t i = 0; i < discriminator.blocks.size(); ++i) {
    DownBlock& block = discriminator.blocks[i];
    const std::string prefix = concat("blocks.", i, ".");
    side /= 2;
    const int64_t out = channels(config, side);
    add(prefix + "conv1", block.conv1_weight, &block.conv1_bias, {in, in, 3, 3});
    add(prefix + "conv2", block.conv2_weight, &block.conv2_bias, {out, in, 3, 3});
    add(prefix + "skip", block.skip_weight, nullptr, {out, in, 1, 1});
    in = out;
  }
  add("final", discriminator.final_weight, &discriminator.final_bias, {in, in + 1, 3, 3});
  add("hidden", discriminator.hidden_weight, &discriminator.hidden_bias,
      {in, in * kLastSide * kLastSide});
  add("score", discriminator.score_weight, &discriminator.score_bias, {1, in});
  return list;
}

Discriminator frozen(const Discriminator& discriminator) {
  Discriminator copy = discriminator;
  for (Parameter& parameter : parameters(copy)) *parameter.tensor = parameter.tensor->detach();
  return copy;
}

at::Tensor scores(const Discriminator& discriminator, const at::Tensor& images,
                  at::ScalarType compute) {
  const DiscriminatorConfig& config = discriminator.config;
  check_arg(images.dim() == 4 && images.size(0) > 0 && images.size(1) == 3 &&
                images.size(2) == config.image_size && images.size(3) == config.image_size,
            "scores", "expected (B, 3, ", config.image_size, ", ", config.image_size,
            ") pictures, got ", images.sizes());
  check_arg(images.size(0) < config.group || images.size(0) % config.group == 0, "scores",
            "expected a batch that ", config.group, " divides, got ", images.size(0));
  at::Tensor x = (images * 2 - 1).to(compute, false, false, at::MemoryFormat::ChannelsLast);
  x = activate(equalised_convolution(x, discriminator.stem_weight, discriminator.stem_bias, 1, 0));
  for (const DownBlock& block : discriminator.blocks) x = halve(block, x);  // (B, c, 4, 4)
  x = append_spread(x, config.group);
  x = activate(
      equalised_convolution(x, discriminator.final_weight, discriminator.final_bias, 1, 1));
  x = x.flatten(1).to(compute == at::kDouble ? at::kDouble : at::kFloat);
  x = activate(equalised_linear(x, discriminator.hidden_weight, discriminator.hidden_bias));
  return equalised_linear(x, discriminator.score_weight, discriminator.score_bias).squeeze(1);
}

}  // namespace lexel::vqgan
