#include <ATen/ops/cat.h>
#include <set>
#include <string>

#include "autoregressive/llama.h"
#include "kernels/check.h"
#include "tokenizers/io/gguf.h"

namespace lexel::ar {
namespace {

/// Takes tensors out of a file and remembers which, so that a tensor that nobody asked for is noticed.
class Taker {
 public:
  explicit Taker(const GgufFile& file) : file_(file) {}

  at::Tensor take(const std::string& key, const std::vector<int64_t>& shape) {
    const auto found = file_.entries().find(key);
    check(found != file_.entries().end(), ErrorKind::kBadData, file_.name(), ": tensor \"", key,
          "\" is missing");
    check(found->second.shape == shape, ErrorKind::kBadData, file_.name(), ": tensor \"", key,
          "\": expected ", at::IntArrayRef(shape), ", got ", at::IntArrayRef(found->second.shape));
    taken_.insert(key);
    return file_.tensor(key);
  }

  void check_all_taken() const {
    for (const auto& [key, entry] : file_.entries()) {
      check(taken_.contains(key), ErrorKind::kUnsupported, file_.name(), ": tensor \"", key,
            "\" is none of a plain Llama's");
    }
  }

 private:
  const GgufFile& file_;
  std::set<std::string> taken_;
};

LlamaConfig read_config(const GgufFile& file) {
  const std::string architecture = file.get<std::string>("general.architecture");
  check(architecture == "llama", ErrorKind::kUnsupported, file.name(), ": a model of type \"",
        architecture, "\"; llama is read");
  LlamaConfig config;
  config.vocabulary =
      static_cast<int64_t>(file.get<std::vector<std::string>>("tokenizer.ggml.tokens").size());
  config.width = file.get<int64_t>("llama.embedding_length");
  config.hidden = file.get<int64_t>("llama.feed_forward_length");
  config.depth = file.get<int64_t>("llama.block_count");
  config.heads = file.get<int64_t>("llama.attention.head_count");
  config.key_heads = file.get_or<int64_t>("llama.attention.head_count_kv", config.heads);
  config.context = file.get<int64_t>("llama.context_length");
  config.rope_base = file.get_or<double>("llama.rope.freq_base", 10000.0);
  config.norm_epsilon = file.get<double>("llama.attention.layer_norm_rms_epsilon");
  validate(config);
  const int64_t head = config.width / config.heads;
  for (const char* key : {"llama.rope.dimension_count", "llama.attention.key_length",
                          "llama.attention.value_length"}) {
    check(file.get_or<int64_t>(key, head) == head, ErrorKind::kUnsupported, file.name(), ": ", key,
          " is not the heads' width, ", head);
  }
  const auto scaling = file.get_or<std::string>("llama.rope.scaling.type", "none");
  check(scaling == "none", ErrorKind::kUnsupported, file.name(), ": rotations scaled by \"",
        scaling, "\"");
  return config;
}

}  // namespace

Llama load_llama(const GgufFile& file) {
  Llama model;
  model.config = read_config(file);
  const LlamaConfig& c = model.config;
  const int64_t keys = c.width / c.heads * c.key_heads;
  Taker taker(file);
  model.embedding = taker.take("token_embd.weight", {c.vocabulary, c.width});
  for (int64_t i = 0; i < c.depth; ++i) {
    const auto take = [&](const char* name, const std::vector<int64_t>& shape) {
      return taker.take(concat("blk.", i, ".", name, ".weight"), shape);
    };
    LlamaBlock block;
    block.attention_norm = take("attn_norm", {c.width});
    block.qkv = at::cat({take("attn_q", {c.width, c.width}), take("attn_k", {keys, c.width}),
                         take("attn_v", {keys, c.width})});
    block.out = take("attn_output", {c.width, c.width});
    block.feed_forward_norm = take("ffn_norm", {c.width});
    block.gate_up =
        at::cat({take("ffn_gate", {c.hidden, c.width}), take("ffn_up", {c.hidden, c.width})});
    block.down = take("ffn_down", {c.width, c.hidden});
    model.blocks.push_back(std::move(block));
  }
  model.norm = taker.take("output_norm.weight", {c.width});
  const bool tied = !file.entries().contains("output.weight");
  model.head = tied ? model.embedding : taker.take("output.weight", {c.vocabulary, c.width});
  taker.check_all_taken();
  return model;
}

}  // namespace lexel::ar
