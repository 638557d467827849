#pragma once

#include <ATen/core/Tensor.h>
#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/parameters.h"
#include "vqgan/convolution.h"

namespace lexel::vqgan {

/// Super-resolution on top of a frozen tokenizer: reconstructions in, pictures of `scale` times their side out.
struct UpsamplerConfig {
  int64_t scale = 2;      // output pixels an input pixel, a side
  int64_t width = 128;    // channels between the blocks
  int64_t blocks = 12;    // residual blocks
  int64_t expansion = 4;  // channels inside a block, as a multiple of width
};

/// Calls visitor(name, field) once for each field.
template <class AnyUpsamplerConfig, class Visitor>
requires std::same_as<std::remove_const_t<AnyUpsamplerConfig>, UpsamplerConfig>
void visit_fields(AnyUpsamplerConfig& c, Visitor&& visitor) {
  visitor(std::string("scale"), c.scale);
  visitor(std::string("width"), c.width);
  visitor(std::string("blocks"), c.blocks);
  visitor(std::string("expansion"), c.expansion);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const UpsamplerConfig& config);

/// Parti's: 12 blocks of 128 channels. The paper gives 15 million parameters for 256 to 512 pixels and no more; blocks that are
/// four times as wide inside, as in WDSR, make it 14.2 million.
/// source   Yu et al. 2022, arXiv:2206.10789, section 2.1; Yu et al. 2018, arXiv:1808.08718 (WDSR-A)
UpsamplerConfig parti_upsampler();

/// One that a CPU trains and runs: 4 blocks of 24 channels.
UpsamplerConfig small_upsampler();

/// Number of parameters of a configuration, by formula.
int64_t parameter_count(const UpsamplerConfig& config);

struct Upsampler {
  UpsamplerConfig config;
  Conv head;                          // 3 -> width
  std::vector<ResidualBlock> blocks;  // width -> expansion * width -> width
  Conv tail;  // width -> 3 * scale^2, pixels shuffled into place; starts at zero
};

/// A fresh upsampler, which is bicubic enlargement until it is trained: float32 on `device`, its values given by `seed`
/// alone.
Upsampler make_upsampler(const UpsamplerConfig& config, uint64_t seed, at::Device device);

/// The tree without values, for parameters() and assign().
Upsampler upsampler_layout(const UpsamplerConfig& config);

/// Every tensor, in file order.
ParameterList parameters(Upsampler& upsampler);

/// Bicubic enlargement plus what the network adds to it. Differentiable; may leave [0, 1] a little.
///
/// images   (B, 3, H, W) in [0, 1]
/// compute  dtype of convolutions: kFloat, kBFloat16, or kDouble with float64 weights
/// returns  (B, 3, scale * H, scale * W) float32 (float64 for kDouble)
/// throws   Error(kUsage) on another shape
at::Tensor upscale(const Upsampler& upsampler, const at::Tensor& images, at::ScalarType compute);

/// What an untrained upsampler gives, and what a trained one has to beat: a = -0.75, edges repeated, not clamped.
at::Tensor bicubic_enlarged(const at::Tensor& images, int64_t scale);

}  // namespace lexel::vqgan
