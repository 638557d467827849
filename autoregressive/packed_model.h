#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "autoregressive/model.h"
#include "kernels/decode_blocks.h"

namespace lexel::ar {

/// A feed-forward layer that kernels::decode_blocks does not do: a gated one, or experts.
struct PackedFeedForward {
  kernels::DecodeNorm norm;
  kernels::Activation activation = kernels::Activation::kGelu;
  std::vector<kernels::DecodeLinear> up,
      down;                      // one of each, or one an expert; none: the block's own
  kernels::DecodeLinear router;  // (E, D) float32; without weights: not routed
  at::Tensor of_tasks;           // (tasks, E) logits, where experts are routed by task
};

/// A generator laid out for drawing: the matrices of both stacks rounded to `format` and packed for kernels::decode_blocks and
/// linear_decode. Embeddings, norms, biases and positions stay in `model`, whose packed matrices are released.
struct PackedModel {
  Model model;
  kernels::WeightFormat format = kernels::WeightFormat::kInt8;
  std::vector<kernels::DecodeBlock> encoder;  // without masks and cross-attention
  std::vector<kernels::DecodeLinear>
      text_kv;  // by decoder block: (2 D, D), keys then values of the encoder's output
  std::vector<kernels::DecodeBlock> blocks;  // of the decoder
  std::vector<PackedFeedForward> encoder_feed_forward,
      feed_forward;  // by block of the encoder and the decoder
  kernels::DecodeLinear softmax;
  at::Tensor positions;  // (N, D): row_positions + column_positions of each token
  kernels::DecodeShare
      share;  // with several ranks: matrices hold its rows, by head where they have heads
};

/// Packs matrix after matrix and releases each, so that memory never holds both models.
///
/// model    on the device that will draw; a caller that keeps no copy frees its matrices
/// throws   Error(kUsage) when a size does not fit the kernels (named); Error(kBadData) naming a matrix that is not finite
PackedModel pack(Model model, kernels::WeightFormat format);

/// The model that the packed one computes with: matrices float32, rounded. For tests and measurements.
Model unpack(const PackedModel& packed);

/// Bytes of a packed model's tensors.
int64_t weight_bytes(const PackedModel& packed);

}  // namespace lexel::ar
