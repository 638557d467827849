#include "autoregressive/encode.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <algorithm>

#include "autoregressive/moe/experts.h"
#include "kernels/attention.h"

namespace lexel::ar {
namespace {

/// softmax(q k^T / sqrt(d)) v among all pieces; qkv (n, 3 D), returns (n, D).
at::Tensor attend(const at::Tensor& qkv, int64_t heads) {
  const int64_t pieces = qkv.size(0), width = qkv.size(1) / 3;  // of so many heads
  const at::Tensor parts =                                      // (3, 1, H, n, d)
      qkv.view({1, pieces, 3, heads, width / heads}).permute({2, 0, 3, 1, 4});
  return kernels::attention(parts[0], parts[1], parts[2]).transpose(1, 2).reshape({pieces, width});
}

}  // namespace

at::Tensor apply_packed(const kernels::DecodeLinear& linear, const at::Tensor& x,
                        const kernels::DecodeNorm& norm, kernels::Activation activation,
                        const at::Tensor& residual, const kernels::DecodeShare& share,
                        int64_t outputs) {
  constexpr int64_t kRows = 16;  // of linear_decode
  kernels::LinearDecodeOptions options;
  options.norm_weight = norm.weight;
  options.norm_bias = norm.bias;
  options.bias = linear.bias;
  options.activation = activation;
  const at::Tensor own = residual.defined() ? share.own(residual) : residual;
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < x.size(0); first += kRows) {
    const int64_t last = std::min(first + kRows, x.size(0));
    if (own.defined()) options.residual = own.slice(0, first, last);
    parts.push_back(kernels::linear_decode(x.slice(0, first, last), linear.weight, options));
  }
  const at::Tensor y = parts.size() == 1 ? parts[0] : at::cat(parts);
  return share.ranks == 1 ? y : share.whole(y, outputs);
}

at::Tensor add_feed_forward(const PackedFeedForward& layer, const at::Tensor& x,
                            const at::Tensor& tasks, const kernels::DecodeShare& share) {
  if (!layer.router.weight.values.defined()) {
    const kernels::DecodeLinear& down = layer.down[0];
    const at::Tensor hidden =
        apply_packed(layer.up[0], x, layer.norm, layer.activation, {}, share, down.weight.inputs);
    return apply_packed(down, hidden, {}, kernels::Activation::kNone, x, share, x.size(1));
  }
  at::Tensor logits;  // (R, E)
  if (layer.of_tasks.defined()) {
    logits = layer.of_tasks.index_select(0, tasks);
  } else {
    logits = apply_packed(layer.router, x, layer.norm);
  }
  const moe::Routing routing = moe::unlimited_gating(logits, {});
  const at::Tensor in = moe::dispatch(x, routing);  // (2 R, D), expert after expert
  std::vector<at::Tensor> outputs;
  int64_t first = 0;
  for (size_t e = 0; e < routing.rows_of_expert.size(); ++e) {
    const int64_t rows = routing.rows_of_expert[e];
    if (rows == 0) continue;
    const at::Tensor own = in.slice(0, first, first + rows);
    outputs.push_back(
        apply_packed(layer.down[e], apply_packed(layer.up[e], own, layer.norm, layer.activation)));
    first += rows;
  }
  return x + moe::combine(at::cat(outputs), routing);
}

std::vector<at::Tensor> encode_caption(const PackedModel& model, const at::Tensor& pieces,
                                       const at::Tensor& task) {
  const Model& rest = model.model;
  const Config& config = rest.config;
  const kernels::DecodeShare& share = model.share;
  const int64_t count = pieces.size(0), heads = share.own(config.heads);
  const int64_t width = config.width, head = width / config.heads;
  at::Tensor x = rest.text_embedding.index_select(0, pieces).add(
      rest.text_positions.slice(0, 0, count));  // (n, D)
  const at::Tensor tasks = task.defined() ? task.expand({count}) : task;
  for (size_t i = 0; i < model.encoder.size(); ++i) {
    const kernels::DecodeBlock& block = model.encoder[i];
    const at::Tensor heard =
        share.whole(attend(apply_packed(block.qkv, x, block.self_norm), heads), config.heads, head);
    x = block.out.weight.values.defined()
            ? apply_packed(block.out, heard, {}, kernels::Activation::kNone, x, share, width)
            : x.add(heard);
    if (!block.up.weight.values.defined()) {
      x = add_feed_forward(model.encoder_feed_forward[i], x, tasks, share);
      continue;
    }
    const at::Tensor hidden = apply_packed(block.up, x, block.feed_forward_norm, block.activation,
                                           {}, share, block.down.weight.inputs);
    x = apply_packed(block.down, hidden, {}, kernels::Activation::kNone, x, share, width);
  }
  std::vector<at::Tensor> keys_and_values;
  const kernels::DecodeNorm norm{rest.encoder_norm.weight, rest.encoder_norm.bias};
  for (const kernels::DecodeLinear& map : model.text_kv) {
    keys_and_values.push_back(apply_packed(map, x, norm).view({count, 2, heads, head}));
  }
  return keys_and_values;
}

}  // namespace lexel::ar
