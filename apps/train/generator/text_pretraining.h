#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

#include "autoregressive/model.h"
#include "kernels/parameters.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel::train {

/// Captions with some of their pieces hidden.
struct MaskedCaptions {
  ar::Condition condition;  // (B, M) text, lengths
  at::Tensor places;        // (n) int64: of the hidden pieces, in the flattened text
  at::Tensor pieces;        // (n) int64: what stood there
};

/// Hides 15 % of each caption's pieces, at least one: of these 80 % become the symbol for unknown, which encode() never writes,
/// 10 % any piece, 10 % stay. An empty caption hides its end. Depends on seed and number only.
///
/// source   Devlin et al. 2018, arXiv:1810.04805, section 3.1
MaskedCaptions mask_captions(const ar::Condition& captions, const TextTokenizer& text,
                             uint64_t seed, int64_t number);

/// What guesses hidden pieces from the text encoder's output; no part of a generator.
struct MaskedHead {
  at::Tensor weight, bias;  // (V, D), (V)
};
ParameterList parameters(MaskedHead& head, const ar::Config& config);

/// Mean cross entropy of the hidden pieces, nats: () float32, differentiable.
at::Tensor masked_loss(const ar::Model& model, const MaskedHead& head,
                       const MaskedCaptions& captions, const ar::ForwardOptions& options);

}  // namespace lexel::train
