#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

#include "autoregressive/transformer.h"

namespace lexel::ar {

/// How the layers of a model are computed. The model's code names each layer and says what it computes on one device; this
/// class does just that. Parallelism is a class derived from it (autoregressive/parallel/sharded_model.h), given to a pass by
/// ForwardOptions::runner: the layers then hold a rank's part of the weights, and collectives stand in these functions.
///
/// Names are those of parameters without ".weight": "decoder.blocks.3.attention.qkv", "softmax", "encoder.norm".
/// "The stream" is the residual stream of a stack, of which a rank may hold a part of the tokens; `tokens` is always the
/// number of tokens of the whole. Functions must not keep state between calls: a pass may run again for rematerialisation,
/// beside other passes.
class LayerRunner {
 public:
  virtual ~LayerRunner() = default;

  /// Rows of a table, the same on all ranks: ids (...) int64, returns (..., D).
  virtual at::Tensor embedding(const at::Tensor& table, const std::string& name,
                               const at::Tensor& ids) const;

  /// From a whole (B, N, D), equal on all ranks, to the stream of a stack (a name that begins with "encoder" or "decoder").
  virtual at::Tensor enter(const at::Tensor& x, const std::string& stack) const;

  /// From a stack's normed stream to the whole (B, tokens, D) that linear() of other layers reads (the encoder's output, which
  /// all cross-attentions read: their kv is not gathered again).
  virtual at::Tensor leave(const at::Tensor& x, const std::string& stack, int64_t tokens) const;

  /// From a stack's stream to the whole (B, tokens, D), for work that all ranks do alike; enter() leads back.
  virtual at::Tensor whole(const at::Tensor& x, const std::string& stack, int64_t tokens) const;

  /// Layer norm of the stream, in `compute`.
  virtual at::Tensor norm(const LayerNorm& layer, const std::string& name, const at::Tensor& x,
                          at::ScalarType compute) const;

  /// x W^T + b. x is a normed stream, the encoder's output, or what lies between two layers (heads, hidden units).
  virtual at::Tensor linear(const Linear& layer, const std::string& name, const at::Tensor& x,
                            int64_t tokens) const;

  /// Heads (B, N, D) that no output layer follows, on their way to the stream.
  virtual at::Tensor join(const at::Tensor& heads, const std::string& name) const;

  /// Dropout of options at a place of the model; `tokens` of the whole x.
  virtual at::Tensor dropout(const at::Tensor& x, const std::string& site, int64_t tokens,
                             const ForwardOptions& options) const;

  /// Of the decoder's normed stream (B, n, D): (B tokens, K).
  virtual at::Tensor logits(const Linear& softmax, const at::Tensor& x, int64_t tokens) const;

  /// softmax_loss and log_likelihoods (softmax_loss.h) of the decoder's normed stream; targets (B tokens).
  virtual at::Tensor softmax_loss(const Linear& softmax, const at::Tensor& x, int64_t tokens,
                                  const at::Tensor& targets) const;
  virtual at::Tensor log_likelihoods(const Linear& softmax, const at::Tensor& x, int64_t tokens,
                                     const at::Tensor& targets) const;
};

/// The runner of a pass: that of its options, or one device.
const LayerRunner& runner_of(const ForwardOptions& options);

}  // namespace lexel::ar
