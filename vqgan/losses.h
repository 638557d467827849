#pragma once

#include <ATen/core/Tensor.h>
#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>

namespace lexel::vqgan {

/// What the tokenizer is trained for: L = sum of weight times loss.
/// source   Yu et al. 2021, arXiv:2110.04627, equation 1 and section 3.3
struct LossWeights {
  double codebook = 1.0;  // pulls the chosen codes to the latents; 0 where codes are EMA averages
  double commitment = 0.25;  // beta of equation 1
  double l2 = 1.0;           // mean squared error of the pictures
  // Above 0: each picture's l2 and commitment are divided by (its own mean squared error, as a
  // constant, + this number), so that smooth pictures count as much as busy ones; not in the paper.
  double relative_floor = 0.0;
  double l1 = 0.0;                  // mean absolute error of the pictures; not in the paper
  double logit_laplace = 0.1;       // only for the decoder output "logit_laplace"
  double perceptual = 0.1;          // EfficientNet-Lite0 distance, our stand-in for the paper's VGG
  double adversarial = 0.1;         // non-saturating generator loss
  bool adaptive = false;            // multiply `adversarial` by adaptive_weight(); not in the paper
  double adaptive_max = 1e4;        // upper clamp of that factor
  int64_t discriminator_start = 0;  // first step with an adversarial loss and a discriminator step
  double r1_gamma = 10.0;    // gamma / 2 * E ||grad||^2; 0: no R1 (enhancing-transformers: 10)
  int64_t r1_interval = 16;  // steps between two penalties, each multiplied by this number
};

/// Calls visitor(name, field) once for each field.
template <class AnyLossWeights, class Visitor>
requires std::same_as<std::remove_const_t<AnyLossWeights>, LossWeights>
void visit_fields(AnyLossWeights& w, Visitor&& visitor) {
  visitor(std::string("codebook"), w.codebook);
  visitor(std::string("commitment"), w.commitment);
  visitor(std::string("l2"), w.l2);
  visitor(std::string("relative_floor"), w.relative_floor);
  visitor(std::string("l1"), w.l1);
  visitor(std::string("logit_laplace"), w.logit_laplace);
  visitor(std::string("perceptual"), w.perceptual);
  visitor(std::string("adversarial"), w.adversarial);
  visitor(std::string("adaptive"), w.adaptive);
  visitor(std::string("adaptive_max"), w.adaptive_max);
  visitor(std::string("discriminator_start"), w.discriminator_start);
  visitor(std::string("r1_gamma"), w.r1_gamma);
  visitor(std::string("r1_interval"), w.r1_interval);
}

/// Throws Error(kUsage) naming the field and the value that cannot be: negative, not finite,
/// interval < 1.
void validate(const LossWeights& weights);

// Every loss below is a 0-d tensor of its arguments' dtype (float32, or float64 in tests) and
// throws Error(kUsage) on shapes that do not fit together.

/// mean over tokens of ||sg[z] - e||^2: a sum over the code's width, so that the scale does not
/// depend on the width. Gradient to the codes only.
///
/// latents  (..., D) z, before quantisation
/// codes    (..., D) e, the chosen codes
/// source   Yu et al. 2021, arXiv:2110.04627, equation 1, first term
at::Tensor codebook_loss(const at::Tensor& latents, const at::Tensor& codes);

/// mean over tokens of ||z - sg[e]||^2, the same sum over the width. Gradient to the latents only;
/// beta is LossWeights::commitment.
///
/// source   Yu et al. 2021, arXiv:2110.04627, equation 1, second term
at::Tensor commitment_loss(const at::Tensor& latents, const at::Tensor& codes);

/// mean (x^ - x)^2 over all elements.
at::Tensor l2_loss(const at::Tensor& reconstructions, const at::Tensor& images);

/// mean |x^ - x| over all elements.
at::Tensor l1_loss(const at::Tensor& reconstructions, const at::Tensor& images);

/// Pictures of logit-Laplace maps: clip((sigmoid(mu) - 0.1) / 0.8, 0, 1). No gradient where it
/// clips.
///
/// output   (B, 6, H, W), as in kernels/logit_laplace.h, which has the loss
/// returns  (B, 3, H, W) in [0, 1]
/// source   Ramesh et al. 2021, arXiv:2102.12092, section 3 of appendix A
at::Tensor logit_laplace_reconstruction(const at::Tensor& output);

/// Non-saturating generator loss, mean softplus(-D(x^)).
///
/// fake_scores  (B) raw scores of reconstructions
/// source   Goodfellow et al. 2014, arXiv:1406.2661, section 3; Karras et al. 2020,
/// arXiv:1912.04958
at::Tensor generator_loss(const at::Tensor& fake_scores);

/// Discriminator loss, mean softplus(-D(x)) + mean softplus(D(x^)). (enhancing-transformers halves
/// it.)
///
/// real_scores, fake_scores  (B) raw scores
/// source   as generator_loss
at::Tensor discriminator_loss(const at::Tensor& real_scores, const at::Tensor& fake_scores);

/// R1 without its factor: mean over pictures of the squared norm of the gradient of D(x) with
/// respect to x. Differentiable, for the discriminator's step. The loss is gamma / 2 times this.
/// Google's MAGVIT penalises 10 * mean ||g||^2 at every step: gamma 20, interval 1.
///
/// images   (B, ...) leaf that requires a gradient and gave the scores
/// scores   (B) D(images)
/// throws   Error(kUsage) when the images require no gradient
/// source   Mescheder et al. 2018, arXiv:1801.04406, equation 9
at::Tensor r1_penalty(const at::Tensor& images, const at::Tensor& scores);

/// lambda = ||grad_L(reconstruction)|| / (||grad_L(gan)|| + 1e-4), clamped to [0, max]; a constant
/// (no gradient flows through it). Both graphs are kept.
///
/// last_layer  weights of the decoder's last layer, on which both losses depend
/// returns  0-d tensor on the device of last_layer
/// source   Esser et al. 2021, arXiv:2012.09841, equation 7 (delta 1e-4 as in their code; paper:
/// 1e-6)
at::Tensor adaptive_weight(const at::Tensor& reconstruction_loss, const at::Tensor& gan_loss,
                           const at::Tensor& last_layer, double max);

}  // namespace lexel::vqgan
