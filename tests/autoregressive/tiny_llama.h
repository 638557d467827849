#pragma once

#include <ATen/core/Tensor.h>
#include <string>
#include <vector>

#include "autoregressive/llama.h"
#include "tests/support/made_gguf.h"
#include "tests/support/random_tensor.h"

namespace lexel::tests {

inline ar::LlamaConfig tiny_llama_config() {
  return {.vocabulary = 61,
          .width = 32,
          .hidden = 64,
          .depth = 2,
          .heads = 4,
          .key_heads = 2,
          .context = 1024,
          .rope_base = 100.0,
          .norm_epsilon = 1e-5};
}

inline ar::Llama tiny_llama(const ar::LlamaConfig& c = tiny_llama_config()) {
  uint64_t seed = 1;
  const auto matrix = [&](int64_t rows, int64_t columns) {
    return random_tensor(seed++, {rows, columns}).mul(0.3);
  };
  const auto norm = [&] { return random_tensor(seed++, {c.width}).mul(0.1).add(1.0); };
  const int64_t keys = c.width / c.heads * c.key_heads;
  ar::Llama model;
  model.config = c;
  model.embedding = matrix(c.vocabulary, c.width);
  for (int64_t i = 0; i < c.depth; ++i) {
    model.blocks.push_back({norm(), matrix(c.width + 2 * keys, c.width), matrix(c.width, c.width),
                            norm(), matrix(2 * c.hidden, c.width), matrix(c.width, c.hidden)});
  }
  model.norm = norm();
  model.head = model.embedding;
  return model;
}

/// Letters and what joins to a few words: a token a character but for " ab" and " abc", id 60 the end.
inline std::vector<std::string> tiny_tokens() {
  std::vector<std::string> tokens = {"\u0120", "\u010A", ":", ","};
  for (char c = 'a'; c <= 'z'; ++c) tokens.push_back(std::string(1, c));
  for (char c = 'A'; c <= 'Z'; ++c) tokens.push_back(std::string(1, c));
  tokens.insert(tokens.end(), {"\u0120a", "\u0120ab", "\u0120abc", "."});  // 56 .. 59
  tokens.push_back("<end>");
  return tokens;
}

/// A file of the tiny model with these tokens. `without`: a tensor to leave out.
inline MadeGguf tiny_gguf(const std::string& without = "") {
  const ar::Llama model = tiny_llama();
  const ar::LlamaConfig& c = model.config;
  const auto width = static_cast<uint64_t>(c.width), hidden = static_cast<uint64_t>(c.hidden);
  const auto keys = static_cast<uint64_t>(c.width / c.heads * c.key_heads);
  MadeGguf made;
  made.add_text("general.architecture", "llama");
  made.add_integer("llama.embedding_length", width);
  made.add_integer("llama.feed_forward_length", hidden);
  made.add_integer("llama.block_count", static_cast<uint64_t>(c.depth));
  made.add_integer("llama.attention.head_count", static_cast<uint64_t>(c.heads));
  made.add_integer("llama.attention.head_count_kv", static_cast<uint64_t>(c.key_heads));
  made.add_integer("llama.context_length", static_cast<uint64_t>(c.context));
  made.add_real("llama.rope.freq_base", static_cast<float>(c.rope_base));
  made.add_real("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  made.add_text("tokenizer.ggml.model", "gpt2");
  made.add_text("tokenizer.ggml.pre", "smollm");
  const std::vector<std::string> tokens = tiny_tokens();
  made.add_texts("tokenizer.ggml.tokens", tokens);
  std::vector<int32_t> types(tokens.size(), 1);
  types.back() = 3;
  made.add_integers("tokenizer.ggml.token_type", types);
  made.add_texts("tokenizer.ggml.merges", {"\u0120 a", "\u0120a b", "\u0120ab c"});
  made.add_integer("tokenizer.ggml.eos_token_id", tokens.size() - 1);

  const auto add = [&](const std::string& name, const at::Tensor& tensor,
                       const std::vector<uint64_t>& sides) {
    if (name == without) return;
    const at::Tensor values = tensor.contiguous();
    made.add_floats(name, sides, values.const_data_ptr<float>());
  };
  add("token_embd.weight", model.embedding, {width, static_cast<uint64_t>(c.vocabulary)});
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    const ar::LlamaBlock& block = model.blocks[i];
    const std::string prefix = "blk." + std::to_string(i) + ".";
    const auto k = static_cast<int64_t>(keys), d = c.width;
    add(prefix + "attn_norm.weight", block.attention_norm, {width});
    add(prefix + "attn_q.weight", block.qkv.slice(0, 0, d), {width, width});
    add(prefix + "attn_k.weight", block.qkv.slice(0, d, d + k), {width, keys});
    add(prefix + "attn_v.weight", block.qkv.slice(0, d + k), {width, keys});
    add(prefix + "attn_output.weight", block.out, {width, width});
    add(prefix + "ffn_norm.weight", block.feed_forward_norm, {width});
    add(prefix + "ffn_gate.weight", block.gate_up.slice(0, 0, c.hidden), {width, hidden});
    add(prefix + "ffn_up.weight", block.gate_up.slice(0, c.hidden), {width, hidden});
    add(prefix + "ffn_down.weight", block.down, {hidden, width});
  }
  add("output_norm.weight", model.norm, {width});
  return made;
}

}  // namespace lexel::tests
