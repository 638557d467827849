#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "kernels/decode_attention.h"
#include "kernels/linear_decode.h"

namespace lexel {
class GgufFile;
}

namespace lexel::ar {

/// A decoder-only language model of the Llama family.
struct LlamaConfig {
  int64_t vocabulary = 0;
  int64_t width = 0, hidden = 0;  // D; of the feed-forward part
  int64_t depth = 0;
  int64_t heads = 0, key_heads = 0;  // of queries; of keys and values (grouped queries)
  int64_t context = 0;               // tokens that it was trained for
  double rope_base = 10000.0;
  double norm_epsilon = 1e-5;
};

/// throws  Error(kBadData) naming the field: a size < 1 or > 2^20, heads that do not divide, a head's width that is not a
///         multiple of 8 in 8..128, a base or epsilon that is not finite and > 0
void validate(const LlamaConfig& config);

/// One block, float32, rows as a GGUF file orders them: rotary pairs of a head are neighbours (2 i, 2 i + 1).
struct LlamaBlock {
  at::Tensor attention_norm;     // (D)
  at::Tensor qkv;                // ((H + 2 G) d, D): queries, keys, values
  at::Tensor out;                // (D, H d)
  at::Tensor feed_forward_norm;  // (D)
  at::Tensor gate_up;            // (2 hidden, D): gate, then values
  at::Tensor down;               // (D, hidden)
};

/// source  Touvron et al. 2023, arXiv:2302.13971, section 2.2
struct Llama {
  LlamaConfig config;
  at::Tensor embedding;  // (V, D)
  std::vector<LlamaBlock> blocks;
  at::Tensor norm;  // (D)
  at::Tensor head;  // (V, D); the embedding itself where they are tied
};

/// The model of a GGUF file: architecture "llama" without biases or scaled rotations.
///
/// throws  Error(kBadData) a key or tensor that is missing or of another shape; Error(kUnsupported) another architecture, or
///         tensors that a plain Llama does not have (named)
Llama load_llama(const GgufFile& file);

/// How a model computes.
enum class LlamaPrecision {
  kFloat32,  // float32 throughout: the numbers of the model
  kFast,  // up to 16 tokens by int8 weights (groups of 32), more by bfloat16; bfloat16 keys and values
};

/// A matrix for few rows and for many.
struct LlamaMatrix {
  at::Tensor plain;               // (O, I) float32 or bfloat16
  kernels::DecodeWeights packed;  // kFast: int8
};

struct PackedLlamaBlock {
  at::Tensor attention_norm, feed_forward_norm;  // (D) float32
  LlamaMatrix qkv, out, gate_up, down;
};

/// A model laid out for reading and writing text.
struct PackedLlama {
  LlamaConfig config;
  LlamaPrecision precision = LlamaPrecision::kFloat32;
  at::Tensor embedding;  // (V, D) float32 or bfloat16
  std::vector<PackedLlamaBlock> blocks;
  at::Tensor norm;
  LlamaMatrix head;
};

/// Rounds and packs matrix after matrix and releases each.
PackedLlama pack(Llama model, LlamaPrecision precision);

/// Text so far as keys and values, allocated once; more tokens are fed, or taken back. One text, one thread.
class LlamaDecoder {
 public:
  /// capacity  tokens at most; the model must outlive the decoder
  /// throws    Error(kUsage) capacity < 1; Error(kUnsupported) when its memory is more than there is
  LlamaDecoder(const PackedLlama& model, int64_t capacity);

  int64_t length() const { return length_; }  // tokens fed and not taken back
  int64_t capacity() const { return capacity_; }

  /// The tokens that follow.
  ///
  /// tokens   1 to capacity - length ids
  /// returns  (V) float32: logits of the token after them
  /// throws   Error(kUsage) too many or none; Error(kBadData) an id outside of the vocabulary
  at::Tensor feed(const std::vector<int64_t>& tokens);

  /// Forgets all but the first `length` tokens.
  void rewind(int64_t length);

  /// What would follow each node of a tree of tokens that grows out of the text so far; the text stays as it is.
  ///
  /// tokens   n ids, n <= capacity - length
  /// parents  n: the node before, an earlier one, or -1 for the text's last token
  /// returns  (n, D) float32, for logits()
  /// throws   as feed; Error(kUsage) a parent that is not earlier
  at::Tensor look_ahead(const std::vector<int64_t>& tokens, const std::vector<int64_t>& parents);

  /// hidden   (n, D) float32, rows of look_ahead
  /// returns  (n, V) float32
  at::Tensor logits(const at::Tensor& hidden) const;

 private:
  at::Tensor run(const std::vector<int64_t>& tokens, const at::Tensor& positions,
                 const at::Tensor& mask);  // (n, D), normalised
  at::Tensor attend(const at::Tensor& qkv, kernels::KvCache& cache, const at::Tensor& positions,
                    const at::Tensor& mask) const;

  const PackedLlama& model_;
  int64_t capacity_, length_ = 0;
  std::vector<kernels::KvCache> caches_;  // by block, (1, G, capacity, d)
  at::Tensor cosines_, sines_;            // (capacity, d / 2) float32
};

}  // namespace lexel::ar
