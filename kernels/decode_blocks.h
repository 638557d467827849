#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/attention_mask.h"
#include "kernels/decode_attention.h"
#include "kernels/linear_decode.h"

namespace lexel::kernels {

/// y = x W^T + b, packed.
struct DecodeLinear {
  DecodeWeights weight;
  at::Tensor bias;  // (O) float32, or undefined
};

/// Layer norm before a part of a block.
struct DecodeNorm {
  at::Tensor weight, bias;  // (D) float32
};

/// A pre-norm block of a transformer's decoder, as a step reads it:
///   x += out(self_attention(qkv(norm x))); x += cross_out(cross_attention(cross_q(norm x))); x += down(activation(up(norm x)))
struct DecodeBlock {
  DecodeNorm self_norm;
  DecodeLinear qkv;  // (3 D, D), rows q then k then v
  DecodeLinear out;  // (D, D); without weights: the heads are added to x as they are
  DecodeNorm cross_norm;
  DecodeLinear cross_q, cross_out;  // (D, D); without weights: no cross-attention
  DecodeNorm feed_forward_norm;
  DecodeLinear up, down;  // (hidden, D), (D, hidden); without weights: no such part
  Activation activation = Activation::kGelu;  // not a gated one
  AttentionMask mask = AttentionMask::causal();
  double norm_epsilon = 1e-5;
};

/// The share of a decoder that one of several processes computes: of qkv, cross_q and the caches some heads, of the other
/// matrices some rows. Of `count` of them rank r has those from r count / ranks on, rounded down. As every output is still
/// summed by one process over all inputs, results are the bits of the whole.
struct DecodeShare {
  int64_t rank = 0, ranks = 1;
  /// Puts the parts (R, c) of all ranks, of one size, beside each other: (R, ranks c). All ranks call in the same order.
  std::function<at::Tensor(const at::Tensor& part)> gather;

  int64_t first(int64_t count) const { return rank * count / ranks; }
  int64_t own(int64_t count) const { return (rank + 1) * count / ranks - first(count); }
  /// The own columns of x (R, C), contiguous.
  at::Tensor own(const at::Tensor& x) const;
  /// x (R, units * unit) from the own units' columns.
  at::Tensor whole(const at::Tensor& part, int64_t units, int64_t unit = 1) const;
};

/// Where the rows of decode_blocks stand.
struct DecodeRows {
  at::Tensor positions;     // (n, B) int64, each in 0..T-1, rising by one along n
  at::Tensor text_lengths;  // (B) int64, each in 0..M; undefined without cross-attention
};

/// n tokens of each of B pictures through all blocks of a decoder: keys and values are written into the caches at their
/// positions, then each token attends to what lies at or before it. n is 1 in a step, more when known tokens are filled
/// in. Tokens of a picture give the same bits one by one and together, alone and beside other pictures, with any number
/// of threads. On the CPU one call is one parallel region.
///
/// x          (n, B, D) float32, contiguous; n B in 0..16
/// self       caches of each block, (B, H, T, D / H): written
/// cross      of each block, (B, H, M, D / H), filled; empty without cross-attention
/// returns    (n, B, D) float32: the last block's output, not normalised
/// throws     Error(kUsage) on another dtype, shape, device or layout; what linear_decode, append_ and decode_attention throw
/// source     Vaswani et al. 2017, arXiv:1706.03762, figure 1; pre-norm: Xiong et al. 2020, arXiv:2002.04745, figure 1b
at::Tensor decode_blocks(const at::Tensor& x, const std::vector<DecodeBlock>& blocks,
                         std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                         const DecodeRows& rows);

/// The same by linear_decode, append_ and decode_attention, a call each: what runs on CUDA, and on the CPU the bits of
/// decode_blocks.
///
/// share    with several ranks: blocks and caches hold this rank's share; x and the result are whole. Six gathers a block with
///          cross-attention, four without (one fewer without `out`)
/// throws   as decode_blocks; what `gather` throws
at::Tensor decode_blocks_by_parts(const at::Tensor& x, const std::vector<DecodeBlock>& blocks,
                                  std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                                  const DecodeRows& rows, const DecodeShare& share = {});

/// The meaning of decode_blocks: linear_decode_reference and decode_attention_reference; same arguments and results.
at::Tensor decode_blocks_reference(const at::Tensor& x, const std::vector<DecodeBlock>& blocks,
                                   std::vector<KvCache>& self, const std::vector<KvCache>& cross,
                                   const DecodeRows& rows);

}  // namespace lexel::kernels
