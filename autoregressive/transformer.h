#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

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
  Linear up;    // (hidden, D)
  Linear down;  // (D, hidden)
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

}  // namespace lexel::ar
