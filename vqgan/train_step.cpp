#include "vqgan/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include "kernels/check.h"
#include "kernels/logit_laplace.h"

namespace lexel::vqgan {
namespace {

/// A weighted sum that remembers its terms.
struct Sum {
  at::Tensor total;
  LossTerms terms;

  void add(const std::string& name, const at::Tensor& term, const at::Tensor& weighted) {
    terms.emplace_back(name, term.detach());
    total = total.defined() ? total + weighted : weighted;
  }
  void add(const std::string& name, const at::Tensor& term, double weight) {
    add(name, term, term * weight);
  }
};

/// Mean squared difference of each picture, (B).
at::Tensor mean_square(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).square().flatten(1).mean(1);
}

/// The commitment loss with each picture multiplied by its importance.
at::Tensor weighted_commitment(const Forward& pass, const at::Tensor& importance) {
  const at::Tensor distance = (pass.latents - pass.codes.detach()).square().sum(-1);  // (B, N)
  return (distance.mean(1) * importance).mean();
}

const at::Tensor& last_layer(const Model& model) {
  return model.config.refine_width > 0 ? model.decoder.refine.out.weight
                                       : model.decoder.stack.head.weight;
}

void add_adversarial(const Model& model, const TrainSetup& setup, const at::Tensor& pictures,
                     Sum& sum) {
  const LossWeights& weights = setup.weights;
  const at::Tensor loss =
      generator_loss(scores(frozen(*setup.discriminator), pictures, setup.compute));
  if (!weights.adaptive) {
    sum.add("adversarial", loss, weights.adversarial);
    return;
  }
  const at::Tensor factor =
      adaptive_weight(sum.total, loss, last_layer(model), weights.adaptive_max);
  sum.add("adversarial", loss, loss * factor * weights.adversarial);
  sum.terms.emplace_back("adaptive_weight", factor);
}

}  // namespace

std::vector<std::pair<std::string, double>> read(const LossTerms& terms) {
  std::vector<std::pair<std::string, double>> numbers;
  if (terms.empty()) return numbers;
  std::vector<at::Tensor> values;
  for (const auto& [name, value] : terms) values.push_back(value.to(at::kDouble));
  const at::Tensor row = at::stack(values).cpu();
  for (size_t i = 0; i < terms.size(); ++i) {
    numbers.emplace_back(terms[i].first, row.const_data_ptr<double>()[i]);
  }
  return numbers;
}

GeneratorStep generator_step(const Model& model, const TrainSetup& setup, const at::Tensor& images,
                             int64_t step, const at::Tensor& quantized) {
  const LossWeights& weights = setup.weights;
  validate(weights);
  const Forward pass = forward(model, images, setup.compute, quantized, setup.runner);
  Sum sum;
  // The reconstruction losses come first: the adaptive weight is measured against their sum.
  at::Tensor importance;  // (B), of each picture; undefined: all count alike
  if (weights.relative_floor > 0) {
    importance =
        (mean_square(pass.pictures.detach(), images) + weights.relative_floor).reciprocal();
  }
  if (weights.l2 > 0) {
    const at::Tensor l2 = l2_loss(pass.pictures, images);
    sum.add("l2", l2,
            importance.defined()
                ? (mean_square(pass.pictures, images) * importance).mean() * weights.l2
                : l2 * weights.l2);
  }
  if (weights.l1 > 0) sum.add("l1", l1_loss(pass.pictures, images), weights.l1);
  if (weights.logit_laplace > 0 && model.config.output == "logit_laplace") {
    sum.add(
        "logit_laplace",
        kernels::logit_laplace_loss(pass.output.to(at::kFloat).contiguous(), images.contiguous()),
        weights.logit_laplace);
  }
  if (weights.perceptual > 0 && setup.perceptual) {
    sum.add("perceptual", perceptual_loss(*setup.perceptual, pass.pictures, images),
            weights.perceptual);
  }
  check_arg(sum.total.defined(), "generator_step",
            "expected a reconstruction loss with a weight, got none");
  if (discriminator_active(setup, step)) add_adversarial(model, setup, pass.pictures, sum);
  if (weights.codebook > 0) {
    sum.add("codebook", codebook_loss(pass.latents, pass.codes), weights.codebook);
  }
  if (weights.commitment > 0) {
    const at::Tensor commitment = commitment_loss(pass.latents, pass.codes);
    sum.add("commitment", commitment,
            importance.defined() ? weighted_commitment(pass, importance) * weights.commitment
                                 : commitment * weights.commitment);
  }
  sum.terms.insert(sum.terms.begin(), {"loss", sum.total.detach()});
  return {sum.total, std::move(sum.terms), pass};
}

bool discriminator_active(const TrainSetup& setup, int64_t step) {
  return setup.discriminator && setup.weights.adversarial > 0 &&
         step >= setup.weights.discriminator_start;
}

DiscriminatorStep discriminator_step(const TrainSetup& setup, const at::Tensor& images,
                                     const at::Tensor& reconstructions, int64_t step) {
  const LossWeights& weights = setup.weights;
  validate(weights);
  check_arg(setup.discriminator != nullptr, "discriminator_step",
            "expected a discriminator, got none");
  const Discriminator& discriminator = *setup.discriminator;
  const bool penalised =
      weights.r1_gamma > 0 && (step - weights.discriminator_start) % weights.r1_interval == 0;
  const at::Tensor real = penalised ? images.detach().clone().requires_grad_() : images.detach();
  const at::Tensor real_scores =
      scores(discriminator, real, penalised ? at::kFloat : setup.compute);
  const at::Tensor fake_scores = scores(discriminator, reconstructions.detach(), setup.compute);
  Sum sum;
  sum.add("discriminator", discriminator_loss(real_scores, fake_scores), 1.0);
  sum.terms.emplace_back("real_score", real_scores.detach().mean());
  sum.terms.emplace_back("fake_score", fake_scores.detach().mean());
  if (penalised) {
    sum.add("r1", r1_penalty(real, real_scores),
            weights.r1_gamma / 2 * static_cast<double>(weights.r1_interval));
  }
  return {sum.total, std::move(sum.terms)};
}

}  // namespace lexel::vqgan
