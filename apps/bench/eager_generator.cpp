#include "apps/bench/eager_generator.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/multinomial.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <optional>
#include <utility>

namespace lexel::bench {
namespace {

at::Tensor linear(const ar::Linear& map, const at::Tensor& x) {
  return at::linear(x, map.weight, map.bias);
}

at::Tensor norm(const ar::LayerNorm& layer, const at::Tensor& x) {
  return at::layer_norm(x, {x.size(-1)}, layer.weight, layer.bias, 1e-5);
}

}  // namespace

EagerGenerator::EagerGenerator(ar::Model model, at::ScalarType dtype) : model_(std::move(model)) {
  for (const Parameter& parameter : ar::parameters(model_)) {
    *parameter.tensor = parameter.tensor->detach().to(dtype);
  }
  positions_ = (model_.row_positions.unsqueeze(1) + model_.column_positions.unsqueeze(0))
                   .reshape({-1, model_.config.width});
}

void EagerGenerator::start(const ar::Condition& condition) {
  const at::NoGradGuard no_grad;
  const ar::Config& config = model_.config;
  const int64_t head = config.width / config.heads, pieces = condition.text.size(1);
  rows_ = condition.text.size(0);
  position_ = 0;
  keys_.clear();
  values_.clear();
  text_keys_.clear();
  text_values_.clear();
  text_seen_ = at::arange(pieces)
                   .unsqueeze(0)
                   .lt(condition.lengths.unsqueeze(1))
                   .view({rows_, 1, 1, pieces});
  at::Tensor x = at::embedding(model_.text_embedding, condition.text) +
                 model_.text_positions.slice(0, 0, pieces);
  const auto by_head = [&](const at::Tensor& y) {
    return y.view({rows_, pieces, config.heads, head}).transpose(1, 2);
  };
  for (const ar::EncoderBlock& block : model_.encoder) {
    const auto qkv = linear(block.attention.qkv, norm(block.attention.norm, x)).chunk(3, -1);
    const at::Tensor heard = attend(by_head(qkv[0]), by_head(qkv[1]), by_head(qkv[2]), text_seen_);
    x = x + linear(block.attention.out, heard.transpose(1, 2).reshape(x.sizes()));
    const at::Tensor up = linear(block.feed_forward.up, norm(block.feed_forward.norm, x));
    x = x + linear(block.feed_forward.down,
                   config.activation == "gelu" ? at::gelu(up, "tanh") : at::relu(up));
  }
  x = norm(model_.encoder_norm, x);
  for (const ar::DecoderBlock& block : model_.decoder) {
    const auto kv = linear(block.cross.kv, x).chunk(2, -1);
    text_keys_.push_back(by_head(kv[0]).contiguous());
    text_values_.push_back(by_head(kv[1]).contiguous());
    keys_.push_back(at::empty({rows_, config.heads, positions_.size(0), head}, x.options()));
    values_.push_back(at::empty_like(keys_.back()));
  }
}

at::Tensor EagerGenerator::attend(const at::Tensor& q, const at::Tensor& keys,
                                  const at::Tensor& values, const at::Tensor& seen) const {
  return at::scaled_dot_product_attention(
      q, keys, values, seen.defined() ? std::optional<at::Tensor>(seen) : std::nullopt);
}

at::Tensor EagerGenerator::step(const at::Tensor& tokens) {
  const at::NoGradGuard no_grad;
  const ar::Config& config = model_.config;
  const int64_t head = config.width / config.heads, p = position_++;
  at::Tensor x = (tokens.defined() ? at::embedding(model_.token_embedding, tokens)
                                   : model_.start.expand({rows_, -1})) +
                 positions_[p];  // (rows, D)
  const auto by_head = [&](const at::Tensor& y) { return y.view({rows_, config.heads, 1, head}); };
  for (size_t i = 0; i < model_.decoder.size(); ++i) {
    const ar::DecoderBlock& block = model_.decoder[i];
    const auto qkv = linear(block.attention.qkv, norm(block.attention.norm, x)).chunk(3, -1);
    keys_[i].select(2, p).copy_(qkv[1].view({rows_, config.heads, head}));
    values_[i].select(2, p).copy_(qkv[2].view({rows_, config.heads, head}));
    at::Tensor heard = attend(by_head(qkv[0].contiguous()), keys_[i].slice(2, 0, p + 1),
                              values_[i].slice(2, 0, p + 1), {});
    x = x + linear(block.attention.out, heard.reshape({rows_, config.width}));
    const at::Tensor q = linear(block.cross.q, norm(block.cross.norm, x));
    heard = attend(by_head(q), text_keys_[i], text_values_[i], text_seen_);
    x = x + linear(block.cross.out, heard.reshape({rows_, config.width}));
    const at::Tensor up = linear(block.feed_forward.up, norm(block.feed_forward.norm, x));
    x = x + linear(block.feed_forward.down,
                   config.activation == "gelu" ? at::gelu(up, "tanh") : at::relu(up));
  }
  return linear(model_.softmax, norm(model_.decoder_norm, x)).to(at::kFloat);
}

at::Tensor EagerGenerator::draw(const ar::Condition& condition, double guidance, int64_t top_k) {
  const at::NoGradGuard no_grad;
  start(condition);
  std::vector<at::Tensor> drawn;
  at::Tensor logits = step();
  for (int64_t p = 0; p < positions_.size(0); ++p) {
    const auto halves = logits.chunk(2, 0);
    const at::Tensor guided = halves[1] + guidance * (halves[0] - halves[1]);
    const auto [best, indices] = guided.topk(top_k, 1);
    const at::Tensor choice = at::multinomial(at::softmax(best, 1), 1);  // (rows / 2, 1)
    drawn.push_back(indices.gather(1, choice).squeeze(1));
    if (p + 1 < positions_.size(0)) logits = step(at::cat({drawn.back(), drawn.back()}));
  }
  return at::stack(drawn, 1);
}

}  // namespace lexel::bench
