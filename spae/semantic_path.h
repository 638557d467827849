#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/parameters.h"
#include "spae/config.h"
#include "spae/pyramid.h"
#include "vqgan/transformer.h"

namespace lexel::spae {

/// Frozen features of the picture into the latents of the upper layers' J positions. A few thousand captioned pictures cannot
/// teach a body from scratch what is in a picture; frozen features know already.
///
/// "heads": z_j = head_j(gelu(hidden(features))), learned with the rest.
/// "guide": hidden and out are a guide's net, never trained here; z_j is the code of the word whose vector fits j-th best, so that
/// the quantizer chooses exactly that word. Better where the codes are short: a guide's words are told apart in many more
/// dimensions than the codes have.
struct SemanticPath {
  vqgan::Linear hidden;  // (feature_hidden, feature_width)
  vqgan::Linear
      heads;  // "heads": (J * code_width, feature_hidden), position by position in token order
  vqgan::Linear out;   // "guide": (semantic_width, feature_hidden)
  at::Tensor vectors;  // "guide": (semantic_words, semantic_width), unit rows
  at::Tensor rows;     // "guide": (semantic_words) float32, the words as rows of the codebook
};

void list_semantic_path(SemanticPath& path, const Config& config, const Pyramid& pyramid,
                        ParameterList& list);

/// latents   (B, P, D) float32, as the body gives them
/// features  (B, F) float32
/// codes     (K, D) float32
/// returns   (B, P, D): the positions of the first feature_layers layers replaced
at::Tensor apply_semantic_path(const SemanticPath& path, const Config& config,
                               const Pyramid& pyramid, const at::Tensor& latents,
                               const at::Tensor& features, const at::Tensor& codes);

/// Whether `rows` are rows of a codebook of so many words, each once: what a file may not get wrong.
bool are_rows(const at::Tensor& rows, int64_t num_words);

}  // namespace lexel::spae
