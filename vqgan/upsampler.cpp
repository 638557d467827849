#include "vqgan/upsampler.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include "kernels/check.h"

namespace lexel::vqgan {

void validate(const UpsamplerConfig& config) {
  const auto range = [](const char* field, int64_t value, int64_t low, int64_t high) {
    check_arg(value >= low && value <= high, "UpsamplerConfig", "expected ", field, " in ", low,
              "..", high, ", got ", value);
  };
  range("scale", config.scale, 2, 8);
  range("width", config.width, 1, 4096);
  range("blocks", config.blocks, 1, 256);
  range("expansion", config.expansion, 1, 16);
}

UpsamplerConfig parti_upsampler() { return {}; }

UpsamplerConfig small_upsampler() { return {.scale = 2, .width = 24, .blocks = 4, .expansion = 4}; }

int64_t parameter_count(const UpsamplerConfig& config) {
  validate(config);
  const auto conv = [](int64_t outputs, int64_t inputs) { return outputs * (9 * inputs + 1); };
  const int64_t inside = config.expansion * config.width;
  return conv(config.width, 3) +
         config.blocks * (conv(inside, config.width) + conv(config.width, inside)) +
         conv(3 * config.scale * config.scale, config.width);
}

Upsampler upsampler_layout(const UpsamplerConfig& config) {
  validate(config);
  Upsampler upsampler;
  upsampler.config = config;
  upsampler.blocks.resize(static_cast<size_t>(config.blocks));
  return upsampler;
}

Upsampler make_upsampler(const UpsamplerConfig& config, uint64_t seed, at::Device device) {
  Upsampler upsampler = upsampler_layout(config);
  initialise(parameters(upsampler), seed, device);
  return upsampler;
}

ParameterList parameters(Upsampler& upsampler) {
  const UpsamplerConfig& config = upsampler.config;
  const int64_t width = config.width, inside = config.expansion * width;
  ParameterList list;
  list_conv("head", upsampler.head, width, 3, /*zero=*/false, "", list);
  for (size_t i = 0; i < upsampler.blocks.size(); ++i) {
    const std::string name = concat("blocks.", i, ".");
    list_conv(name + "first", upsampler.blocks[i].first, inside, width, /*zero=*/false, "", list);
    list_conv(name + "second", upsampler.blocks[i].second, width, inside, /*zero=*/false, "", list);
  }
  list_conv("tail", upsampler.tail, 3 * config.scale * config.scale, width, /*zero=*/true, "",
            list);
  return list;
}

at::Tensor bicubic_enlarged(const at::Tensor& images, int64_t scale) {
  return at::upsample_bicubic2d(images, {scale * images.size(2), scale * images.size(3)},
                                /*align_corners=*/false);
}

at::Tensor upscale(const Upsampler& upsampler, const at::Tensor& images, at::ScalarType compute) {
  check_arg(
      images.dim() == 4 && images.size(1) == 3 && images.numel() > 0 && images.is_floating_point(),
      "upscale", "expected (B, 3, H, W) pictures, got ", images.sizes(), " ", images.scalar_type());
  const at::ScalarType result = compute == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor x = apply_conv(upsampler.head, (images - 0.5).to(compute));  // (B, D, H, W)
  for (const ResidualBlock& block : upsampler.blocks)
    x = x + apply_conv(block.second, at::relu(apply_conv(block.first, x)));
  const at::Tensor details =
      at::pixel_shuffle(apply_conv(upsampler.tail, x), upsampler.config.scale);  // (B, 3, sH, sW)
  return bicubic_enlarged(images.to(result), upsampler.config.scale) + details.to(result);
}

}  // namespace lexel::vqgan
