#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "kernels/philox.h"
#include "spae/pyramid.h"
#include "spae/quantizer.h"

namespace lexel::spae {

// The terms of SPAE's loss that ViT-VQGAN's does not have. Each loss is a 0-d float32 tensor.

/// Words that tell what each picture shows, best first: what the semantic loss teaches.
struct WordTargets {
  at::Tensor ids;     // (B, R) int64: rows of the codebook, each once a picture
  at::Tensor scores;  // (B, R) float32 in [0, 1], falling
};

/// The best words of a guide's scores, each picture's scaled so that its best word has 1 and its worst 0.
///
/// scores    (B, K) float32, finite; a row of equal scores gets zeros
/// captions  of each picture, words known to be true: first names (which get score 1), then other words (0.95); both precede
///           the guide's. Empty: no picture has any
/// count     R, 1 .. K
/// throws    Error(kUsage) on another shape, count or a word past K
struct KnownWords {
  std::vector<int64_t> names, others;
};
WordTargets word_targets(const at::Tensor& scores, const std::vector<KnownWords>& captions,
                         int64_t count);

/// The word that each token of a layer shall become. In the first `ranked_layers` layers token j of the pyramid gets word j, so
/// that the few upper tokens say different things; below, each token draws one of the words whose score is at least `pool`
/// (the paper draws so in every layer).
///
/// layer    from 0
/// returns  (B, n) int64 on the device of the targets
/// source   Yu et al. 2023, arXiv:2306.17842, section 3.2 (pools 0.98, 0.95, 0.9, 0.85, 0.8 of layers 1 to 5), from memory
at::Tensor draw_targets(const WordTargets& targets, const Pyramid& pyramid, int64_t layer,
                        int64_t ranked_layers, double pool, Philox& random);

/// Mean of -log softmax_k(scale z . e_k)[target]. For vectors of length one this is the paper's softmax of -|z - e|^2 but for
/// the scale (2 there): without a larger one the loss stays near log K, whatever z is.
///
/// queries  (B, n, D) float32
/// codes    (K, D) float32, unit rows
/// targets  (B, n) int64
at::Tensor word_cross_entropy(const at::Tensor& queries, const at::Tensor& codes,
                              const at::Tensor& targets, double scale);

/// Against collapse on a few words: E[H(p)] - H(E[p]) with p = softmax_k(scale z . e_k), in nats; low when each query is
/// sure of its word and all queries together use many. A frozen codebook cannot be restarted, so this must keep it alive.
///
/// queries  (M, D) float32, a sample of a layer's
/// source   as the entropy penalty of Yu et al. 2023 (MAGVIT-v2), arXiv:2310.05737, section 3.1
at::Tensor entropy_term(const at::Tensor& queries, const at::Tensor& codes, double scale);

/// Mean over layers of |z - sg[z^_{<=l}]|^2, summed over the width, averaged over the positions that the first l layers visit.
///
/// latents  (B, P, D) float32; gradient to them alone
/// source   Yu et al. 2023, arXiv:2306.17842, section 3.1, from memory
at::Tensor layer_commitment(const Pyramid& pyramid, const at::Tensor& latents,
                            const std::vector<LayerChoice>& choices);

/// LeCam's regularisation of a discriminator: mean relu(D(x) - fake)^2 + mean relu(real - D(x^))^2 with running means.
///
/// real_scores, fake_scores  (B)
/// mean_real, mean_fake      0-d: running means of D on real pictures and on reconstructions, without gradient
/// source   Tseng et al. 2021, arXiv:2104.03310, equation 5, as Google's MAGVIT has it
at::Tensor lecam_loss(const at::Tensor& real_scores, const at::Tensor& fake_scores,
                      const at::Tensor& mean_real, const at::Tensor& mean_fake);

}  // namespace lexel::spae
