#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "spae/model.h"
#include "spae/semantic_loss.h"
#include "vqgan/discriminator.h"
#include "vqgan/perceptual.h"

namespace lexel::spae {

/// What SPAE is trained for: L = L_app + semantic w L_sem with w = sg[L_app / L_sem], and terms that keep the codebook in use.
/// source   Yu et al. 2023, arXiv:2306.17842, section 3 (from memory); weights and what departs: spae/README.md
struct LossWeights {
  double l2 = 1.0;           // mean squared error of the pictures
  double l1 = 0.1;           // mean absolute error; not in the paper
  double perceptual = 0.0;   // EfficientNet-Lite0 distance
  double adversarial = 0.0;  // non-saturating
  double lecam = 0.0;        // of the discriminator
  double commitment = 0.0033;
  double entropy = 0.02;     // not in the paper; 0 lets a frozen codebook collapse
  double semantic = 1.0;     // alpha
  double word_scale = 20.0;  // of z . e in the softmax over words
  int64_t semantic_layers =
      3;  // from the top; the paper has 5, where small budgets draw nothing but grey
  int64_t ranked_layers = 2;  // whose tokens get the best words in order (draw_targets)
  std::string pools = "0.98 0.95 0.9 0.85 0.8";  // least score of a layer's words, a layer each
  int64_t entropy_rows = 512;                    // queries a layer that the entropy looks at
};

template <class AnyWeights, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyWeights>, LossWeights>
void visit_fields(AnyWeights& w, Visitor&& visitor) {
  visitor(std::string("l2"), w.l2);
  visitor(std::string("l1"), w.l1);
  visitor(std::string("perceptual"), w.perceptual);
  visitor(std::string("adversarial"), w.adversarial);
  visitor(std::string("lecam"), w.lecam);
  visitor(std::string("commitment"), w.commitment);
  visitor(std::string("entropy"), w.entropy);
  visitor(std::string("semantic"), w.semantic);
  visitor(std::string("word_scale"), w.word_scale);
  visitor(std::string("semantic_layers"), w.semantic_layers);
  visitor(std::string("ranked_layers"), w.ranked_layers);
  visitor(std::string("pools"), w.pools);
  visitor(std::string("entropy_rows"), w.entropy_rows);
}

/// Throws Error(kUsage) naming the field and the value that cannot be: negative, not finite, pools that are not as many
/// numbers of 0 to 1 as there are semantic layers at least.
void validate(const LossWeights& weights);

/// The terms of a loss in order, unweighted: detached 0-d tensors.
using LossTerms = std::vector<std::pair<std::string, at::Tensor>>;

/// Nets beside the model; a null net switches its loss off.
struct TrainSetup {
  LossWeights weights;
  at::ScalarType compute = at::kFloat;  // or kBFloat16
  const vqgan::PerceptualNet* perceptual = nullptr;
  const vqgan::Discriminator* discriminator = nullptr;
};

/// A batch and what chance says of it.
struct TrainBatch {
  at::Tensor images;            // (B, 3, S, S) float32 in [0, 1]
  at::Tensor features;          // (B, F) or undefined, as the model wants
  WordTargets targets;          // ids undefined: no semantic loss
  std::vector<int64_t> layers;  // that the decoder sees, one a picture; empty: all
  double quantization = 1.0;    // ForwardOptions::quantization
  uint64_t seed = 0;
  int64_t number =
      0;  // of the batch: with the seed it decides the words drawn from pools and the entropy's sample
};

struct GeneratorStep {
  at::Tensor total;  // 0-d float32; call total.backward()
  LossTerms
      terms;  // "l2", "l1", "perceptual", "adversarial", "commitment", "entropy", "semantic", "semantic_weight" as used
  Forward forward;
};

/// One forward pass and its weighted loss. Terms of weight 0 and of absent nets are not computed.
///
/// throws   Error(kUsage) on weights that cannot be, or without any reconstruction loss
GeneratorStep generator_step(const Model& model, const TrainSetup& setup, const TrainBatch& batch);

struct DiscriminatorStep {
  at::Tensor total;
  LossTerms terms;                    // "discriminator", "lecam"
  at::Tensor real_score, fake_score;  // 0-d means, for the running means of LeCam
};

/// The discriminator's loss on real pictures and detached reconstructions.
///
/// mean_real, mean_fake  running means of its scores (0-d), for LeCam
/// throws   Error(kUsage) when there is no discriminator
DiscriminatorStep discriminator_step(const TrainSetup& setup, const at::Tensor& images,
                                     const at::Tensor& reconstructions, const at::Tensor& mean_real,
                                     const at::Tensor& mean_fake);

}  // namespace lexel::spae
