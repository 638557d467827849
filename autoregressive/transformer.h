#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/config.h"
#include "autoregressive/moe/experts.h"
#include "kernels/attention_mask.h"
#include "kernels/parameters.h"

namespace lexel::ar {

/// y = x W^T + b.
struct Linear {
  at::Tensor weight;  // (out, in)
  at::Tensor bias;    // (out)
};

struct LayerNorm {
  at::Tensor weight, bias;  // (D)
};

struct FeedForward {
  LayerNorm norm;
  Linear up;    // (hidden, D); of geglu (2 hidden, D), rows of the gates then of the values
  Linear down;  // (D, hidden)
  moe::Experts experts;  // in the place of both; undefined tensors in a dense layer
};

struct SelfAttention {
  LayerNorm norm;
  Linear qkv;  // (3 D, D), rows q then k then v
  Linear out;  // (D, D); undefined tensors where Config::attention_output is false
};

struct CrossAttention {
  LayerNorm norm;  // of the queries; the keys' side is normalised by the encoder's last norm
  Linear q;        // (D, D)
  Linear kv;       // (2 D, D), rows k then v
  Linear out;      // (D, D)
};

/// Pre-norm: x += attention(norm(x)); x += feed_forward(norm(x)).
struct EncoderBlock {
  SelfAttention attention;
  FeedForward feed_forward;
};

/// Pre-norm: x += self(norm(x)); x += cross(norm(x), text); x += feed_forward(norm(x)).
struct DecoderBlock {
  SelfAttention attention;
  CrossAttention cross;  // undefined tensors in a model without text
  FeedForward feed_forward;
};

class LayerRunner;  // layer_runner.h

/// What a pass that learns tells of its experts, layer after layer.
struct ExpertRecord {
  // () differentiable: sum over layers of the auxiliary loss, each times E^2 so that even use of experts is 1;
  // undefined: no layer yet
  at::Tensor auxiliary;
  std::vector<at::Tensor>
      chosen;  // (E) int64 of each layer: tokens whose first choice an expert was
};

/// How a forward pass is computed.
struct ForwardOptions {
  // dtype of matrix products and attention: kFloat or kBFloat16, the residual stream and the norms being float32; or
  // kDouble, for a model of float64 tensors
  at::ScalarType compute = at::kFloat;
  double dropout = 0.0;        // of residual, activation and attention outputs, in [0, 1)
  uint64_t seed = 0;           // of dropout, with
  int64_t step = 0;            // ... so that masks depend on (seed, step, layer) only
  bool rematerialize = false;  // blocks are computed again in the backward pass: memory for time
  // Where the batch is a part of a larger one, as dropout and the encoder are to see it:
  int64_t first_row = 0;    // number of its first row
  int64_t text_tokens = 0;  // longest caption of the larger one; its text has as many columns
  const LayerRunner* runner = nullptr;  // outlives the backward pass; null: one device
  // Of experts. A record is what a step of learning gives: experts that are routed by token then have a capacity, and second
  // choices are drawn with (seed, step). Null: each token gets both its experts, as when pictures are drawn.
  ExpertRecord* experts = nullptr;
  const moe::ExpertExchange* exchange = nullptr;  // outlives the backward pass; null: one rank
};

/// What all blocks of a stack read.
struct BlockInputs {
  kernels::AttentionMask mask;  // of self-attention
  at::Tensor self_keys;         // (B, N) bool: real keys of self-attention; undefined: all
  at::Tensor text;              // (B, M, D) compute dtype: the encoder's output; undefined: none
  at::Tensor text_keys;         // (B, M) bool: real pieces
  int64_t tokens = 0;           // of the whole stream; 0: as many as x has
  at::Tensor tasks{};           // (B) int64: of experts that are routed by task
};

/// Append parameters, group `group`. A fresh weight is normal with a variance of 1 / (3 inputs), cut off at two standard
/// deviations; what is added to the residual stream is smaller by the square root of the stack's number of additions.
void list_linear(const std::string& name, Linear& linear, int64_t outputs, int64_t inputs,
                 double scale, const std::string& group, ParameterList& list);
void list_norm(const std::string& name, LayerNorm& norm, int64_t width, const std::string& group,
               ParameterList& list);
void list_block(const std::string& name, EncoderBlock& block, const Config& config,
                ParameterList& list);
void list_block(const std::string& name, DecoderBlock& block, const Config& config,
                ParameterList& list);

/// x W^T + b, in x's dtype.
at::Tensor apply_linear(const Linear& linear, const at::Tensor& x);

/// Layer norm of the residual stream, epsilon 1e-5, its result in `compute`.
at::Tensor apply_norm(const LayerNorm& norm, const at::Tensor& x, at::ScalarType compute);

/// One block. A rank's part of it has fewer heads or hidden units: what the weights have.
///
/// x        (B, N, D), the residual stream
/// name     as in list_block: it names the streams of dropout
/// returns  (B, N, D) of x's dtype
at::Tensor run_block(const EncoderBlock& block, const std::string& name, const Config& config,
                     const BlockInputs& inputs, const at::Tensor& x, const ForwardOptions& options);
at::Tensor run_block(const DecoderBlock& block, const std::string& name, const Config& config,
                     const BlockInputs& inputs, const at::Tensor& x, const ForwardOptions& options);

}  // namespace lexel::ar
