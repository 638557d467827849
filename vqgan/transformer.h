#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/parameters.h"
#include "vqgan/config.h"

namespace lexel::vqgan {

class BlockRunner;

/// y = x W^T + b.
struct Linear {
  at::Tensor weight;  // (out, in)
  at::Tensor bias;    // (out), or undefined: none
};

struct LayerNorm {
  at::Tensor weight, bias;  // (D)
};

/// One pre-norm block: x += attention(norm(x)); x += feed_forward(norm(x)).
struct Block {
  LayerNorm attention_norm;
  Linear qkv;  // (3 H d, D), rows q then k then v
  Linear out;  // (D, H d)
  LayerNorm feed_forward_norm;
  Linear up;    // (hidden, D)
  Linear down;  // (D, hidden)
};

/// Blocks, a last norm, and the head to the output width.
struct Stack {
  std::vector<Block> blocks;
  LayerNorm norm;
  Linear head_hidden;  // (D, D), of the tanh head only
  Linear head;         // (outputs, D)
};

/// Appends a linear map's parameters. A fresh weight is normal, cut off at two standard deviations.
void list_linear(const std::string& name, Linear& linear, int64_t outputs, int64_t inputs,
                 bool bias, double std, const std::string& group, ParameterList& list);

/// Appends a stack's parameters, sizing `stack.blocks`. `zero_head`: the stack starts by giving
/// zeros.
void list_stack(const std::string& name, Stack& stack, const StackConfig& config, int64_t outputs,
                bool zero_head, const std::string& group, ParameterList& list);

/// x W^T + b, in x's dtype.
at::Tensor apply_linear(const Linear& linear, const at::Tensor& x);

/// Full attention of a fused qkv; softmax(q k^T / sqrt(d)) v.
///
/// qkv      (B, N, 3 H d) float32 or bfloat16; float64 for tests, by ATen
/// returns  (B, N, H d), same dtype
/// source   Vaswani et al. 2017, arXiv:1706.03762, eq. 1
at::Tensor attention(const at::Tensor& qkv, int64_t heads);

/// The dtype of what is not a matrix product: float32, or float64 where `compute` is.
at::ScalarType residual_type(at::ScalarType compute);

/// The whole stack. The residual stream and the norms are float32, matrix products are in
/// `compute`. A model of float64 tensors with `compute` kDouble is float64 throughout, for tests.
///
/// tokens   (B, N, D) of residual_type(compute), positions added
/// runner   computes the blocks, which may be a rank's part of the heads and hidden units; null: one device
/// returns  (B, N, outputs), dtype of `tokens`
/// source   Yu et al. 2021, arXiv:2110.04627, section 3.1 (the tanh head); Dosovitskiy et al. 2020,
///          arXiv:2010.11929, eq. 2-4 (the blocks)
at::Tensor run_stack(const Stack& stack, const StackConfig& config, const at::Tensor& tokens,
                     at::ScalarType compute, const BlockRunner* runner = nullptr);

/// Fixed table: [sin | cos] of the column for the first half of the width, of the row for the
/// second.
///
/// returns  (grid_height * grid_width, width) float32, row-major; width is a multiple of 4
/// source   enhancing-transformers' layout; Vaswani et al. 2017, arXiv:1706.03762, section 3.5
at::Tensor sincos_positions(int64_t grid_height, int64_t grid_width, int64_t width);

/// A table of a square grid, resampled (bicubic) to another grid; the table itself for its own.
///
/// positions  (n * n, D) float32
/// returns    (grid_height * grid_width, D)
at::Tensor positions_for_grid(const at::Tensor& positions, int64_t grid_height, int64_t grid_width);

}  // namespace lexel::vqgan
