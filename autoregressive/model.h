#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "autoregressive/config.h"
#include "autoregressive/transformer.h"
#include "kernels/parameters.h"

namespace lexel::ar {

/// Parti or VIM (see Config), as a plain struct of tensors.
struct Model {
  Config config;
  at::Tensor text_embedding;  // (V, D)
  at::Tensor text_positions;  // (M, D)
  std::vector<EncoderBlock> encoder;
  LayerNorm encoder_norm;  // the extra norm at the encoder's output

  at::Tensor
      start;  // (classes + 1, D): what stands before the first token, by class; the last row is
              // "no class", and the only one of Parti
  at::Tensor token_embedding;  // (K, D)
  at::Tensor
      row_positions;  // (h, D), added to column_positions: learnable 2-D positions of the token that is drawn next
  at::Tensor column_positions;  // (w, D)
  std::vector<DecoderBlock> decoder;
  LayerNorm decoder_norm;  // the extra norm at the decoder's output
  Linear softmax;          // (K, D), untied
};

/// A fresh model: float32 on `device`, its values given by `seed` alone. Positions of rows and columns start as sines and cosines.
/// throws   Error(kUsage) as validate(config)
Model make_model(const Config& config, uint64_t seed, at::Device device);

/// Fills `part` of parameters(model) with the values that make_model() gives them; the others stay as they are.
void initialise_part(Model& model, const ParameterList& part, uint64_t seed, at::Device device);

/// A model without memory: parameters() gives names and shapes, every tensor is undefined. For counting.
Model model_layout(const Config& config);

/// Every tensor of the model, in file order. Groups: "text" (the encoder), "decoder", "embedding" (tables of both, positions),
/// "softmax". With V pieces, M text tokens, C classes, K codes, an h x w grid, widths D and hidden F, E encoder and L decoder
/// blocks, and A = D^2 + D [attention_output], with dense layers:
///   feed-forward  2 D + 2 D F + F + D        self-attention  2 D + 3 D^2 + 3 D + A
///   encoder       E (self-attention + feed-forward) + 2 D + V D + M D, with text; else 0
///   decoder       L (self-attention + 2 D + 4 D^2 + 4 D [with text] + feed-forward) + 2 D
///   embeddings    (C + 1 + K + h + w) D      softmax  K D + K
/// Activation geglu adds D F + F to a dense layer; a layer of X experts is 2 D + X D + 2 X D F, and T D more with T tasks.
ParameterList parameters(Model& model);

/// Parameters of the blocks alone, which is what Parti's Table 1 counts: 12 D^2 E + 16 D^2 L and the vectors.
int64_t block_parameter_count(const Config& config);

/// Puts the tokenizer's codes where fresh tables of tokens stand: token_embedding and softmax.weight become one random projection
/// of the whitened codes, with the spread that fresh values have, plus a tenth of the values before. What looks alike then starts alike.
/// A table that is undefined (another rank's) stays so.
///
/// codes    (K, Z) float32
/// throws   Error(kUsage) on another K
void start_from_codes(Model& model, const at::Tensor& codes, uint64_t seed);

/// What a picture is drawn from, B rows. Of a model with text both tensors of text are given, of one without neither.
struct Condition {
  at::Tensor text;  // (B, m) int64 pieces, m in 1..max_text_tokens, padded at the end with any id
  at::Tensor
      lengths;  // (B) int64, 1..m: real pieces. The unconditional row is the empty caption: the end symbol alone
  at::Tensor classes;  // (B) int64 in 0..classes; `classes` itself is "no class"
  at::Tensor tasks{};  // (B) int64 in 0..tasks-1, where experts are routed by task; else undefined
};

/// Text encoder: bidirectional over the real pieces, extra norm at the end.
///
/// returns  (B, M, D) in `compute`; rows past a length hold anything finite
/// source   Yu et al. 2022, arXiv:2206.10789, section 2.2
at::Tensor encode_text(const Model& model, const Condition& condition,
                       const ForwardOptions& options = {});

/// Logits of every token given those before it (teacher forcing), differentiable.
///
/// tokens   (B, N) int64 in [0, K), raster order, N = grid_height * grid_width
/// returns  (B, N, K) float32 (float64 where that is `compute`); row p sees the condition and tokens 0..p-1
/// throws   Error(kUsage) on another shape or dtype; Error(kBadData) on an id past the codebook
at::Tensor logits(const Model& model, const Condition& condition, const at::Tensor& tokens,
                  const ForwardOptions& options = {});

/// Output of decoder block `block` under teacher forcing, for linear probes: (B, N, D), the residual stream's dtype.
/// throws   Error(kUsage) on a block that is not there; as logits()
at::Tensor features(const Model& model, const Condition& condition, const at::Tensor& tokens,
                    int64_t block, const ForwardOptions& options = {});

/// Mean cross entropy in nats per token, without keeping all logits of a batch where that can be helped.
///
/// seen     (B, N) int64: what the decoder is given in the place of `tokens`, for training with noise; undefined: `tokens`
/// places   (B, n) int64, ascending in each row, 0..N-1: only these are computed and learnt. Each holds the token before it, as ever,
///          and attends to the places before it that are there; a model without conv-shaped blocks only. Undefined: all
/// returns  () float32 (float64 where that is `compute`), differentiable
/// throws   as logits(); Error(kUsage) on places of another shape, dtype, order or range
/// source   Yu et al. 2022, arXiv:2206.10789, section 3
at::Tensor token_loss(const Model& model, const Condition& condition, const at::Tensor& tokens,
                      const ForwardOptions& options = {}, const at::Tensor& seen = {},
                      const at::Tensor& places = {});

/// ln p(token) of each token given those before it: (B, N) float32, no gradient.
at::Tensor token_log_likelihoods(const Model& model, const Condition& condition,
                                 const at::Tensor& tokens, const ForwardOptions& options = {});

}  // namespace lexel::ar
