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

/// A fresh model: float32 on `device`, its values given by `seed` alone.
/// throws   Error(kUsage) as validate(config)
Model make_model(const Config& config, uint64_t seed, at::Device device);

/// A model without memory: parameters() gives names and shapes, every tensor is undefined. For counting.
Model model_layout(const Config& config);

/// Every tensor of the model, in file order. Groups: "text", "decoder", "embedding", "softmax".
ParameterList parameters(Model& model);

/// What a picture is drawn from, B rows. Of a model with text both tensors of text are given, of one without neither.
struct Condition {
  at::Tensor text;  // (B, M) int64 pieces, padded at the end with any id
  at::Tensor
      lengths;  // (B) int64, 1..M: real pieces. The unconditional row is the empty caption: the end symbol alone
  at::Tensor classes;  // (B) int64 in 0..classes; `classes` itself is "no class"
};

struct ForwardOptions {
  at::ScalarType compute =
      at::kFloat;        // dtype of matrix products: kFloat or kBFloat16 (kDouble: a float64 model)
  double dropout = 0.0;  // of residual, activation and attention outputs
  uint64_t seed = 0;     // of dropout, with
  int64_t step = 0;      // ... so that masks depend on (seed, step, layer) only
  bool rematerialize = false;  // blocks are computed again in the backward pass: memory for time
};

/// Text encoder: bidirectional over the real pieces, extra norm at the end.
///
/// returns  (B, M, D) of the residual's dtype; rows past a length hold anything finite
/// source   Yu et al. 2022, arXiv:2206.10789, section 2.2
at::Tensor encode_text(const Model& model, const Condition& condition,
                       const ForwardOptions& options = {});

/// Logits of every token given those before it (teacher forcing), differentiable.
///
/// tokens   (B, N) int64 in [0, K), raster order, N = grid_height * grid_width
/// returns  (B, N, K) float32; row p sees the condition and tokens 0..p-1
/// throws   Error(kUsage) on another shape or dtype; Error(kBadData) on an id past the codebook
at::Tensor logits(const Model& model, const Condition& condition, const at::Tensor& tokens,
                  const ForwardOptions& options = {});

/// Output of decoder block `block` under teacher forcing, for linear probes: (B, N, D).
at::Tensor features(const Model& model, const Condition& condition, const at::Tensor& tokens,
                    int64_t block, const ForwardOptions& options = {});

/// Mean cross entropy in nats per token, without keeping all logits of a batch where that can be helped.
///
/// returns  () float32, differentiable
/// source   Yu et al. 2022, arXiv:2206.10789, section 3
at::Tensor token_loss(const Model& model, const Condition& condition, const at::Tensor& tokens,
                      const ForwardOptions& options = {});

/// ln p(token) of each token given those before it: (B, N) float32, no gradient.
at::Tensor token_log_likelihoods(const Model& model, const Condition& condition,
                                 const at::Tensor& tokens, const ForwardOptions& options = {});

}  // namespace lexel::ar
