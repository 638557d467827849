#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/parameters.h"
#include "spae/config.h"
#include "spae/pyramid.h"
#include "vqgan/transformer.h"

namespace lexel::spae {

/// Frozen features of the picture into the latents of the upper layers, each of whose J positions has a head of its own:
/// z_j = head_j(gelu(hidden(features))). A few thousand captioned pictures cannot teach a body from scratch what is in a picture;
/// frozen features know already. What the body gives there is left out: with it, even behind a gate, the upper words of training
/// pictures come from pixels that are known by heart, and those of other pictures are wrong.
struct SemanticPath {
  vqgan::Linear hidden;  // (feature_hidden, feature_width)
  vqgan::Linear heads;   // (J * code_width, feature_hidden), position by position in token order
};

void list_semantic_path(SemanticPath& path, const Config& config, const Pyramid& pyramid,
                        ParameterList& list);

/// latents   (B, P, D) float32, as the body gives them
/// features  (B, F) float32
/// returns   (B, P, D): the positions of the first feature_layers layers replaced
at::Tensor apply_semantic_path(const SemanticPath& path, const Config& config,
                               const Pyramid& pyramid, const at::Tensor& latents,
                               const at::Tensor& features);

}  // namespace lexel::spae
