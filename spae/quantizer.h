#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "spae/pyramid.h"

namespace lexel::spae {

enum class QuantizerRule {
  kStreamingAverage,  // a position's result is the average of the words chosen there (the paper's)
  kResidual,          // the sum: each layer quantizes what the layers before have left (to compare)
};

/// "saq" or "rq", as a config says it.
/// throws   Error(kUsage) another text
QuantizerRule quantizer_rule(const std::string& name);

/// What a layer has chosen.
struct LayerChoice {
  at::Tensor
      queries;  // (B, n, D) what was looked up, z_l, at the layer's n positions; gradient to the latents
  at::Tensor ids;  // (B, n) int64
  at::Tensor
      result;  // (B, P, D) of the layers so far, z^_{<=l}, without gradient; 0 where none has been
};

/// Chooses words layer by layer. With n choices e_1 .. e_n so far at a position of latent z, layer l looks up
///   streaming average  z_l = (n + 1) z - (e_1 + ... + e_n), result (e_1 + ... + e_n + e) / (n + 1)
///   residual           z_l = z - (e_1 + ... + e_n),         result  e_1 + ... + e_n + e
/// and takes the e with the largest z_l . e, which for codes of one length is the one with the smallest |z_l - e|; of equal
/// ones the first. The streaming average's choice is the one that makes the new average nearest to z.
///
/// latents  (B, P, D) float32, P = grid * grid positions in raster order
/// codes    (K, D) float32, unit rows, without gradient
/// layers   1 .. pyramid.layers(): how many to choose
/// returns  one entry a layer
/// throws   Error(kUsage) on another shape, dtype or number of layers
/// source   Yu et al. 2023, arXiv:2306.17842, section 3.1 (SAQ), from memory; residual: Lee et al. 2022,
///          arXiv:2203.01941, equation 3
std::vector<LayerChoice> quantize(const Pyramid& pyramid, QuantizerRule rule,
                                  const at::Tensor& latents, const at::Tensor& codes,
                                  int64_t layers);

/// The ids alone, without what a training needs; float32, no gradient.
///
/// returns  (B, tokens) int64, layer by layer
at::Tensor quantize_ids(const Pyramid& pyramid, QuantizerRule rule, const at::Tensor& latents,
                        const at::Tensor& codes, int64_t layers);

/// The ids of all layers, one after the other.
///
/// returns  (B, tokens) int64
at::Tensor ids_of(const std::vector<LayerChoice>& choices);

/// The result that a picture's tokens stand for, after their last layer.
///
/// ids      (B, tokens of n layers) int64 in [0, K), trusted
/// returns  (B, P, D) float32, 0 where no layer has been
/// throws   Error(kBadData) tokens that end in the middle of a layer (Pyramid::layers_of)
at::Tensor result_of_ids(const Pyramid& pyramid, QuantizerRule rule, const at::Tensor& ids,
                         const at::Tensor& codes);

/// What the decoder gets: the result beside a mark of how often each position has been visited. The decoder's first map turns
/// the mark into a learned vector a count, that of 0 being the one for "unvisited".
///
/// results    (B, P, D); where no layer has been its values do not count
/// layers     how many have been, one number for all pictures or one a picture
/// nearest    unvisited positions get the result of the nearest visited one, else 0
/// returns    (B, P, D + M): M = mark_width(pyramid), one-hot of the count
at::Tensor decoder_input(const Pyramid& pyramid, const at::Tensor& results,
                         const std::vector<int64_t>& layers, bool nearest);

/// Counts that a position can have: 0 to the most that all layers give one, so that plus one.
int64_t mark_width(const Pyramid& pyramid);

}  // namespace lexel::spae
