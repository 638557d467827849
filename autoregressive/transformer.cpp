#include "autoregressive/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <cmath>

#include "autoregressive/expert_layer.h"
#include "autoregressive/layer_runner.h"
#include "kernels/attention.h"

namespace lexel::ar {
namespace {

/// softmax(q k^T / sqrt(d)) v in float64, which the kernels do not take: for tests of gradients.
at::Tensor attend_in_double(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const kernels::AttentionMask& mask, const at::Tensor& key_mask) {
  at::Tensor hidden = kernels::mask_table(mask, q.size(2), k.size(2)).logical_not();  // (N, M)
  if (key_mask.defined()) {
    hidden = hidden.logical_or(key_mask.logical_not().unsqueeze(1).unsqueeze(1));  // (B, 1, N, M)
  }
  const auto scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  return at::matmul(at::softmax(scores.masked_fill(hidden, -1e300), -1), v);  // (B, H, N, d)
}

/// Heads of q against those of k and v, each (B, N or M, H, d); (B, N, D).
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const kernels::AttentionMask& mask, const at::Tensor& key_mask) {
  const auto by_head = [](const at::Tensor& x) { return x.transpose(1, 2); };  // (B, H, N, d)
  const auto out = q.scalar_type() == at::kDouble
                       ? attend_in_double(by_head(q), by_head(k), by_head(v), mask, key_mask)
                       : kernels::attention(by_head(q), by_head(k), by_head(v), mask, key_mask);
  return out.transpose(1, 2).reshape({q.size(0), q.size(1), q.size(2) * q.size(3)});
}

/// x (B, N, parts H d) as so many views (B, N, H, d); unbind, because its gradient is written in one go.
std::vector<at::Tensor> heads_of(const at::Tensor& x, int64_t parts, int64_t head_width) {
  return x.reshape({x.size(0), x.size(1), parts, x.size(2) / parts / head_width, head_width})
      .unbind(2);
}

/// The three sublayers of one block of one pass.
struct Sublayers {
  const std::string& name;
  const Config& config;
  const BlockInputs& inputs;
  const ForwardOptions& options;
  int64_t tokens;  // of the whole stream
  const LayerRunner& runner = runner_of(options);
  int64_t head_width = config.width / config.heads;

  at::Tensor drop(const at::Tensor& x, const char* site) const {
    return options.dropout == 0.0 ? x : runner.dropout(x, name + site, tokens, options);
  }

  at::Tensor norm(const LayerNorm& layer, const char* part, const at::Tensor& x) const {
    return runner.norm(layer, name + part, x, options.compute);
  }

  at::Tensor linear(const Linear& layer, const char* part, const at::Tensor& x) const {
    return runner.linear(layer, name + part, x, tokens);
  }

  at::Tensor self_attention(const SelfAttention& layer, const at::Tensor& x) const {
    const auto qkv = linear(layer.qkv, ".attention.qkv", norm(layer.norm, ".attention.norm", x));
    const auto parts = heads_of(qkv, 3, head_width);
    const auto attended = attend(parts[0], parts[1], parts[2], inputs.mask, inputs.self_keys);
    if (!layer.out.weight.defined()) {
      return x + drop(runner.join(attended, name + ".attention"), ".attention.residual");
    }
    const auto y = linear(layer.out, ".attention.out", drop(attended, ".attention.output"));
    return x + drop(y, ".attention.residual");
  }

  at::Tensor cross_attention(const CrossAttention& layer, const at::Tensor& x) const {
    const auto q = linear(layer.q, ".cross.q", norm(layer.norm, ".cross.norm", x));
    const auto kv_of_text =
        runner.linear(layer.kv, name + ".cross.kv", inputs.text, inputs.text.size(1));
    const auto kv = heads_of(kv_of_text, 2, head_width);
    const auto attended = attend(heads_of(q, 1, head_width)[0], kv[0], kv[1], {}, inputs.text_keys);
    const auto y = linear(layer.out, ".cross.out", drop(attended, ".cross.output"));
    return x + drop(y, ".cross.residual");
  }

  at::Tensor feed_forward(const FeedForward& layer, const at::Tensor& x) const {
    const auto in = norm(layer.norm, ".feed_forward.norm", x);
    if (layer.experts.up.defined()) {
      const auto y = runner.enter(run_experts(layer.experts, name + ".feed_forward", config, inputs,
                                              runner.whole(in, name, tokens), options),
                                  name);
      return x + drop(y, ".feed_forward.residual");
    }
    const auto up = linear(layer.up, ".feed_forward.up", in);
    const auto hidden = activated(config, up, layer.down.weight.size(1));
    const auto y =
        linear(layer.down, ".feed_forward.down", drop(hidden, ".feed_forward.activation"));
    return x + drop(y, ".feed_forward.residual");
  }
};

Sublayers sublayers(const std::string& name, const Config& config, const BlockInputs& inputs,
                    const at::Tensor& x, const ForwardOptions& options) {
  return {name, config, inputs, options, inputs.tokens == 0 ? x.size(1) : inputs.tokens};
}

void list_self_attention(const std::string& name, SelfAttention& layer, const Config& config,
                         double residual_scale, const std::string& group, ParameterList& list) {
  list_norm(name + ".norm", layer.norm, config.width, group, list);
  list_linear(name + ".qkv", layer.qkv, 3 * config.width, config.width, 1.0, group, list);
  if (!config.attention_output) return;
  list_linear(name + ".out", layer.out, config.width, config.width, residual_scale, group, list);
}

void list_feed_forward(const std::string& name, FeedForward& layer, const Config& config,
                       double residual_scale, const std::string& group, ParameterList& list) {
  list_norm(name + ".norm", layer.norm, config.width, group, list);
  const bool sparse = config.experts > 0 && has_experts(config, block_number(name));
  if (sparse && config.routing != "static") {
    list_experts(name, layer.experts, config, residual_scale, group, list);
    return;
  }
  const int64_t hidden = sparse ? config.experts * config.hidden : config.hidden;
  const bool gated = !sparse && config.activation == "geglu";
  list_linear(name + ".up", layer.up, gated ? 2 * hidden : hidden, config.width, 1.0, group, list);
  list_linear(name + ".down", layer.down, config.width, hidden, residual_scale, group, list);
}

double residual_scale(int64_t additions) { return 1.0 / std::sqrt(static_cast<double>(additions)); }

}  // namespace

void list_linear(const std::string& name, Linear& linear, int64_t outputs, int64_t inputs,
                 double scale, const std::string& group, ParameterList& list) {
  const double std = scale / std::sqrt(3.0 * static_cast<double>(inputs));
  list.push_back({name + ".weight", {outputs, inputs}, Init::normal(std), &linear.weight, group});
  list.push_back({name + ".bias", {outputs}, Init::zeros(), &linear.bias, group, /*decay=*/false});
}

void list_norm(const std::string& name, LayerNorm& norm, int64_t width, const std::string& group,
               ParameterList& list) {
  list.push_back({name + ".weight", {width}, Init::ones(), &norm.weight, group, /*decay=*/false});
  list.push_back({name + ".bias", {width}, Init::zeros(), &norm.bias, group, /*decay=*/false});
}

void list_block(const std::string& name, EncoderBlock& block, const Config& config,
                ParameterList& list) {
  const double scale = residual_scale(2 * config.text_depth);
  list_self_attention(name + ".attention", block.attention, config, scale, "text", list);
  list_feed_forward(name + ".feed_forward", block.feed_forward, config, scale, "text", list);
}

void list_block(const std::string& name, DecoderBlock& block, const Config& config,
                ParameterList& list) {
  const bool text = config.text_depth > 0;
  const double scale = residual_scale((text ? 3 : 2) * config.depth);
  list_self_attention(name + ".attention", block.attention, config, scale, "decoder", list);
  if (text) {
    CrossAttention& cross = block.cross;
    const std::string prefix = name + ".cross";
    list_norm(prefix + ".norm", cross.norm, config.width, "decoder", list);
    list_linear(prefix + ".q", cross.q, config.width, config.width, std::sqrt(3.0), "decoder",
                list);
    list_linear(prefix + ".kv", cross.kv, 2 * config.width, config.width, std::sqrt(3.0), "decoder",
                list);
    list_linear(prefix + ".out", cross.out, config.width, config.width, scale, "decoder", list);
  }
  list_feed_forward(name + ".feed_forward", block.feed_forward, config, scale, "decoder", list);
}

at::Tensor apply_linear(const Linear& linear, const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  return at::linear(x, linear.weight.to(type), linear.bias.to(type));
}

at::Tensor apply_norm(const LayerNorm& norm, const at::Tensor& x, at::ScalarType compute) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, 1e-5).to(compute);
}

at::Tensor run_block(const EncoderBlock& block, const std::string& name, const Config& config,
                     const BlockInputs& inputs, const at::Tensor& x,
                     const ForwardOptions& options) {
  const Sublayers run = sublayers(name, config, inputs, x, options);
  return run.feed_forward(block.feed_forward, run.self_attention(block.attention, x));
}

at::Tensor run_block(const DecoderBlock& block, const std::string& name, const Config& config,
                     const BlockInputs& inputs, const at::Tensor& x,
                     const ForwardOptions& options) {
  const Sublayers run = sublayers(name, config, inputs, x, options);
  at::Tensor y = run.self_attention(block.attention, x);
  if (inputs.text.defined()) y = run.cross_attention(block.cross, y);
  return run.feed_forward(block.feed_forward, y);
}

}  // namespace lexel::ar
