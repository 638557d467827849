#pragma once

#include <ATen/core/Tensor.h>
#include <vector>

#include "autoregressive/packed_model.h"

namespace lexel::ar {

/// y = activation(norm(x) W^T + b) + residual of any number of rows, by kernels::linear_decode a few rows at a time: each row
/// gives the same bits alone and beside others, with any number of threads (LibTorch's products do not).
///
/// x         (n, I) float32
/// residual  (n, O) float32, or undefined
/// share     of the rows of W where there are several ranks, `outputs` in all; x, residual and the result are whole
/// returns   (n, O) float32
at::Tensor apply_packed(const kernels::DecodeLinear& linear, const at::Tensor& x,
                        const kernels::DecodeNorm& norm = {},
                        kernels::Activation activation = kernels::Activation::kNone,
                        const at::Tensor& residual = {}, const kernels::DecodeShare& share = {},
                        int64_t outputs = 0);

/// x + feed_forward(norm(x)) of a layer that kernels::decode_blocks does not do. Each token gets both its experts.
///
/// x        (n, D) float32
/// tasks    (n) int64 where experts are routed by task, else undefined
/// share    of a gated layer; experts are whole on every rank
at::Tensor add_feed_forward(const PackedFeedForward& layer, const at::Tensor& x,
                            const at::Tensor& tasks, const kernels::DecodeShare& share);

/// Keys and values of one caption for the cross-attention of each block.
///
/// pieces    (n) int64, 1 <= n <= max_text_tokens: the caption alone, without padding
/// task      (1) int64 where experts are routed by task, else undefined
/// returns   by block: (n, 2, H, d) float32, keys then values; H are the heads of the model's share
std::vector<at::Tensor> encode_caption(const PackedModel& model, const at::Tensor& pieces,
                                       const at::Tensor& task = {});

}  // namespace lexel::ar
