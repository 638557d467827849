#pragma once

#include <ATen/core/Tensor.h>
#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/parameters.h"

namespace lexel::vqgan {

/// StyleGAN2's residual discriminator. A feature map of R pixels a side has
/// min(max_channels, channel_base / R) channels.
struct DiscriminatorConfig {
  int64_t image_size = 256;      // pixels, square, a power of two >= 8
  int64_t channel_base = 32768;  // 16384 times StyleGAN2's channel multiplier (2)
  int64_t max_channels = 512;
  int64_t group = 4;  // pictures a group of the minibatch standard deviation; divides the batch
};

/// Calls visitor(name, field) once for each field.
template <class AnyDiscriminatorConfig, class Visitor>
requires std::same_as<std::remove_const_t<AnyDiscriminatorConfig>, DiscriminatorConfig>
void visit_fields(AnyDiscriminatorConfig& c, Visitor&& visitor) {
  visitor(std::string("image_size"), c.image_size);
  visitor(std::string("channel_base"), c.channel_base);
  visitor(std::string("max_channels"), c.max_channels);
  visitor(std::string("group"), c.group);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const DiscriminatorConfig& config);

/// The paper's: 256 pixels, multiplier 2, 28,864,129 parameters.
/// source   Karras et al. 2020, arXiv:1912.04958, appendix B (configuration F)
DiscriminatorConfig stylegan2_discriminator();

/// A small one for 128 pixels that a CPU can train: 16 to 128 channels, about 1.2 million
/// parameters.
DiscriminatorConfig small_discriminator();

/// Number of parameters of a configuration, by formula.
int64_t parameter_count(const DiscriminatorConfig& config);

/// Halves the picture: two 3x3 convolutions beside a 1x1 skip, both behind a [1 3 3 1] blur.
struct DownBlock {
  at::Tensor conv1_weight, conv1_bias;  // (in, in, 3, 3), (in)
  at::Tensor conv2_weight, conv2_bias;  // (out, in, 3, 3), (out)
  at::Tensor skip_weight;               // (out, in, 1, 1)
};

struct Discriminator {
  DiscriminatorConfig config;
  at::Tensor stem_weight, stem_bias;      // (c, 3, 1, 1), (c)
  std::vector<DownBlock> blocks;          // image_size down to 4 pixels
  at::Tensor final_weight, final_bias;    // (c, c + 1, 3, 3), (c): one more map, the batch's spread
  at::Tensor hidden_weight, hidden_bias;  // (c, 16 c), (c)
  at::Tensor score_weight, score_bias;    // (1, c), (1)
};

/// A fresh discriminator: float32 on `device`, its values given by `seed` alone. Weights are drawn
/// from N(0, 1) and scaled by 1 / sqrt(fan in) at run time (equalised learning rate).
Discriminator make_discriminator(const DiscriminatorConfig& config, uint64_t seed,
                                 at::Device device);

/// Every tensor, in file order.
ParameterList parameters(Discriminator& discriminator);

/// The same tensors without gradient: for the generator's step, which must not touch them.
Discriminator frozen(const Discriminator& discriminator);

/// Raw scores, large for real pictures. Twice differentiable.
///
/// images   (B, 3, S, S) in [0, 1] (mapped to [-1, 1] inside), S the config's image_size; B a
/// multiple of
///          the group, or smaller than it (then the batch is one group)
/// compute  dtype of convolutions: kFloat, kBFloat16, or kDouble with float64 weights
/// returns  (B) float32 (float64 for kDouble)
/// throws   Error(kUsage) on another shape
at::Tensor scores(const Discriminator& discriminator, const at::Tensor& images,
                  at::ScalarType compute);

}  // namespace lexel::vqgan
