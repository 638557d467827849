#include "vqgan/losses.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/softplus.h>
#include <cmath>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/check.h"

namespace lexel::vqgan {
namespace {

void check_same_shape(const char* function, const at::Tensor& a, const at::Tensor& b) {
  check_arg(a.sizes() == b.sizes() && a.numel() > 0, function,
            "expected two tensors of one shape, got ", a.sizes(), " and ", b.sizes());
}

void check_scores(const char* function, const at::Tensor& scores) {
  check_arg(scores.dim() == 1 && scores.numel() > 0, function, "expected (B) scores, got ",
            scores.sizes());
}

at::Tensor mean_squared_norm(const at::Tensor& difference) {
  return difference.square().sum(-1).mean();
}

// The gradient of a sum of scores or of a loss, as a constant or (create_graph) as part of the
// graph.
at::Tensor gradient(const at::Tensor& value, const at::Tensor& variable, bool create_graph) {
  return torch::autograd::grad({value}, {variable}, {}, /*retain_graph=*/true, create_graph)[0];
}

}  // namespace

void validate(const LossWeights& weights) {
  const auto check_weight = [](const std::string& name, const auto& value) {
    using Value = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, double>) {
      check_arg(std::isfinite(value) && value >= 0, "LossWeights", "expected ", name, " >= 0, got ",
                value);
    } else if constexpr (std::is_same_v<Value, int64_t>) {
      const int64_t least = name == "r1_interval" ? 1 : 0;
      check_arg(value >= least, "LossWeights", "expected ", name, " >= ", least, ", got ", value);
    }
  };
  visit_fields(weights, check_weight);
}

at::Tensor codebook_loss(const at::Tensor& latents, const at::Tensor& codes) {
  check_same_shape("codebook_loss", latents, codes);
  return mean_squared_norm(latents.detach() - codes);
}

at::Tensor commitment_loss(const at::Tensor& latents, const at::Tensor& codes) {
  check_same_shape("commitment_loss", latents, codes);
  return mean_squared_norm(latents - codes.detach());
}

at::Tensor l2_loss(const at::Tensor& reconstructions, const at::Tensor& images) {
  check_same_shape("l2_loss", reconstructions, images);
  return (reconstructions - images).square().mean();
}

at::Tensor l1_loss(const at::Tensor& reconstructions, const at::Tensor& images) {
  check_same_shape("l1_loss", reconstructions, images);
  return (reconstructions - images).abs().mean();
}

at::Tensor logit_laplace_reconstruction(const at::Tensor& output) {
  check_arg(output.dim() == 4 && output.size(1) == 6, "logit_laplace_reconstruction",
            "expected (B, 6, H, W) maps, got ", output.sizes());
  // x' = 0.8 x + 0.1 keeps the logit finite at black and white.
  return output.narrow(1, 0, 3).sigmoid().sub(0.1).div(0.8).clamp(0, 1);
}

at::Tensor generator_loss(const at::Tensor& fake_scores) {
  check_scores("generator_loss", fake_scores);
  return at::softplus(-fake_scores).mean();
}

at::Tensor discriminator_loss(const at::Tensor& real_scores, const at::Tensor& fake_scores) {
  check_scores("discriminator_loss", real_scores);
  check_scores("discriminator_loss", fake_scores);
  return at::softplus(-real_scores).mean() + at::softplus(fake_scores).mean();
}

at::Tensor r1_penalty(const at::Tensor& images, const at::Tensor& scores) {
  check_scores("r1_penalty", scores);
  check_arg(images.requires_grad() && scores.requires_grad(), "r1_penalty",
            "expected scores of pictures that require a gradient, got ",
            images.requires_grad() ? "constant scores" : "constant pictures");
  check_arg(images.dim() > 1 && images.size(0) == scores.size(0), "r1_penalty",
            "expected one score for each picture, got ", scores.sizes(), " for ", images.sizes());
  // A score depends on its own picture alone (but for the batch's spread), so the gradient of the
  // sum holds the gradient of each score.
  return mean_squared_norm(gradient(scores.sum(), images, /*create_graph=*/true).flatten(1));
}

at::Tensor adaptive_weight(const at::Tensor& reconstruction_loss, const at::Tensor& gan_loss,
                           const at::Tensor& last_layer, double max) {
  check_arg(last_layer.requires_grad(), "adaptive_weight",
            "expected a last layer that requires a gradient, got a constant");
  check_arg(max > 0, "adaptive_weight", "expected a maximum > 0, got ", max);
  const at::Tensor reconstruction = gradient(reconstruction_loss, last_layer, false);
  const at::Tensor gan = gradient(gan_loss, last_layer, false);
  const at::Tensor ratio =
      at::linalg_vector_norm(reconstruction) / (at::linalg_vector_norm(gan) + 1e-4);
  return ratio.clamp(0, max).detach();
}

}  // namespace lexel::vqgan
