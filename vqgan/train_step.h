#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "vqgan/discriminator.h"
#include "vqgan/losses.h"
#include "vqgan/model.h"
#include "vqgan/perceptual.h"

namespace lexel::vqgan {

/// The terms of a loss in order, unweighted: detached 0-d tensors on the device, so that logging
/// need not wait for it at every step.
using LossTerms = std::vector<std::pair<std::string, at::Tensor>>;

/// The numbers behind the terms, in one copy from the device.
std::vector<std::pair<std::string, double>> read(const LossTerms& terms);

/// What a training step consists of, less optimizers. The nets are frozen or trained elsewhere; a
/// null net switches its loss off.
struct TrainSetup {
  LossWeights weights;
  at::ScalarType compute;                     // as of forward()
  const PerceptualNet* perceptual = nullptr;  // in `compute` or any other dtype
  const Discriminator* discriminator = nullptr;
  const BlockRunner* runner = nullptr;  // as of run_stack
};

struct GeneratorStep {
  at::Tensor total;  // 0-d float32; call total.backward()
  LossTerms
      terms;  // "loss" (the total), then "l2", "l1", "logit_laplace", "perceptual", "adversarial",
              // "adaptive_weight", "codebook", "commitment" as used
  Forward forward;  // of this step: ids for usage, pictures for the discriminator
};

/// One forward pass of the tokenizer and its weighted loss. Terms of weight 0 and of absent nets
/// are not computed, nor is the adversarial one before weights.discriminator_start. The
/// discriminator gets no gradient.
///
/// images   (B, 3, H, W) float32 in [0, 1]
/// step     from 0
/// quantized  as in forward()
/// throws   Error(kUsage) on weights that cannot be, without any reconstruction loss, or with a
///          discriminator of another picture size
/// source   Yu et al. 2021, arXiv:2110.04627, section 3.3
GeneratorStep generator_step(const Model& model, const TrainSetup& setup, const at::Tensor& images,
                             int64_t step, const at::Tensor& quantized = {});

/// Whether a discriminator step belongs to this step: there is a discriminator, its loss has a
/// weight, and the start has come.
bool discriminator_active(const TrainSetup& setup, int64_t step);

struct DiscriminatorStep {
  at::Tensor total;  // 0-d float32; call total.backward()
  LossTerms terms;   // "discriminator", "real_score", "fake_score", and "r1" at its steps
};

/// The discriminator's loss on real pictures and detached reconstructions; every r1_interval steps
/// R1 on the real ones, times the interval, in float32 whatever `compute` (its second derivatives
/// are small).
///
/// images, reconstructions  (B, 3, S, S) float32; reconstructions as Forward::pictures gives them, not
///          clamped, so that the discriminator sees what the generator is judged by
/// throws   Error(kUsage) when there is no discriminator
DiscriminatorStep discriminator_step(const TrainSetup& setup, const at::Tensor& images,
                                     const at::Tensor& reconstructions, int64_t step);

}  // namespace lexel::vqgan
