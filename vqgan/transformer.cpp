#include "vqgan/transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/upsample_bicubic2d.h>
#include <cmath>

#include "kernels/attention.h"
#include "vqgan/block_runner.h"

namespace lexel::vqgan {
namespace {

void list_norm(const std::string& name, LayerNorm& norm, int64_t width, const std::string& group,
               ParameterList& list) {
  list.push_back({name + ".weight", {width}, Init::ones(), &norm.weight, group, /*decay=*/false});
  list.push_back({name + ".bias", {width}, Init::zeros(), &norm.bias, group, /*decay=*/false});
}

double fan_in_std(int64_t inputs) { return 1.0 / std::sqrt(3.0 * static_cast<double>(inputs)); }

/// The statistics in x's dtype; the result in `compute`.
at::Tensor apply_norm(const LayerNorm& norm, const at::Tensor& x, at::ScalarType compute) {
  return at::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, 1e-5).to(compute);
}

/// softmax(q k^T / sqrt(d)) v in float64, which the kernels do not take: for tests of gradients.
at::Tensor attend_in_double(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  return at::matmul(at::softmax(scores, -1), v);  // (B, H, N, d)
}

}  // namespace

void list_linear(const std::string& name, Linear& linear, int64_t outputs, int64_t inputs,
                 bool bias, double std, const std::string& group, ParameterList& list) {
  const Init init = std == 0.0 ? Init::zeros() : Init::normal(std);
  list.push_back({name + ".weight", {outputs, inputs}, init, &linear.weight, group});
  if (!bias) return;
  list.push_back({name + ".bias", {outputs}, Init::zeros(), &linear.bias, group, /*decay=*/false});
}

void list_stack(const std::string& name, Stack& stack, const StackConfig& config, int64_t outputs,
                bool zero_head, const std::string& group, ParameterList& list) {
  const int64_t width = config.width, inner = config.heads * config.head_width;
  stack.blocks.resize(static_cast<size_t>(config.depth));
  for (size_t i = 0; i < stack.blocks.size(); ++i) {
    const std::string prefix = name + ".blocks." + std::to_string(i);
    Block& block = stack.blocks[i];
    list_norm(prefix + ".attention_norm", block.attention_norm, width, group, list);
    list_linear(prefix + ".qkv", block.qkv, 3 * inner, width, config.qkv_bias, fan_in_std(width),
                group, list);
    list_linear(prefix + ".out", block.out, width, inner, true, fan_in_std(inner), group, list);
    list_norm(prefix + ".feed_forward_norm", block.feed_forward_norm, width, group, list);
    list_linear(prefix + ".up", block.up, config.hidden, width, true, fan_in_std(width), group,
                list);
    list_linear(prefix + ".down", block.down, width, config.hidden, true, fan_in_std(config.hidden),
                group, list);
  }
  list_norm(name + ".norm", stack.norm, width, group, list);
  if (config.tanh_head) {
    list_linear(name + ".head_hidden", stack.head_hidden, width, width, true, fan_in_std(width),
                group, list);
  }
  list_linear(name + ".head", stack.head, outputs, width, true, zero_head ? 0.0 : fan_in_std(width),
              group, list);
}

at::Tensor apply_linear(const Linear& linear, const at::Tensor& x) {
  const at::ScalarType type = x.scalar_type();
  return linear.bias.defined() ? at::linear(x, linear.weight.to(type), linear.bias.to(type))
                               : at::linear(x, linear.weight.to(type));
}

at::Tensor attention(const at::Tensor& qkv, int64_t heads) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1), inner = qkv.size(2) / 3;
  // Views; unbind, because its gradient writes that of qkv in one go.
  const auto parts = qkv.reshape({batch, tokens, 3, heads, inner / heads}).unbind(2);
  const auto by_head = [&](size_t part) { return parts[part].transpose(1, 2); };  // (B, H, N, d)
  const auto attended = qkv.scalar_type() == at::kDouble
                            ? attend_in_double(by_head(0), by_head(1), by_head(2))
                            : kernels::attention(by_head(0), by_head(1), by_head(2));
  return attended.transpose(1, 2).reshape({batch, tokens, inner});
}

at::ScalarType residual_type(at::ScalarType compute) {
  return compute == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor run_stack(const Stack& stack, const StackConfig& config, const at::Tensor& tokens,
                     at::ScalarType compute, const BlockRunner* runner) {
  static const BlockRunner one_device;
  const BlockRunner& run = runner == nullptr ? one_device : *runner;
  at::Tensor x = tokens;  // (B, N, D)
  for (const Block& block : stack.blocks) {
    const auto qkv =
        apply_linear(block.qkv, run.enter(apply_norm(block.attention_norm, x, compute)));
    const int64_t heads = qkv.size(2) / (3 * config.head_width);  // of them that are here
    x = x + run.leave(block.out, attention(qkv, heads));
    const auto up =
        apply_linear(block.up, run.enter(apply_norm(block.feed_forward_norm, x, compute)));
    x = x +
        run.leave(block.down, config.activation == "gelu" ? at::gelu(up, "tanh") : at::tanh(up));
  }
  // The paper's two-layer net, then a linear map to the output: two linear maps in a row are one, so the
  // second layer of the net is the map to the output.
  at::Tensor y = apply_norm(stack.norm, x, compute);
  if (config.tanh_head) y = at::tanh(apply_linear(stack.head_hidden, y));
  return apply_linear(stack.head, y).to(residual_type(compute));
}

at::Tensor sincos_positions(int64_t grid_height, int64_t grid_width, int64_t width) {
  const int64_t quarter = width / 4;
  const auto omega =
      at::pow(10000.0, at::arange(quarter, at::kDouble) / -static_cast<double>(quarter));
  const auto axis = [&](int64_t cells) {
    const auto angle = at::outer(at::arange(cells, at::kDouble), omega);
    return at::cat({angle.sin(), angle.cos()}, 1);  // (cells, D / 2)
  };
  const auto column = axis(grid_width).unsqueeze(0).expand({grid_height, -1, -1});
  const auto row = axis(grid_height).unsqueeze(1).expand({-1, grid_width, -1});
  return at::cat({column, row}, 2).reshape({grid_height * grid_width, width}).to(at::kFloat);
}

at::Tensor positions_for_grid(const at::Tensor& positions, int64_t grid_height,
                              int64_t grid_width) {
  const auto own = static_cast<int64_t>(std::llround(std::sqrt(positions.size(0))));
  if (grid_height == own && grid_width == own) return positions;
  const auto table = positions.reshape({1, own, own, -1}).permute({0, 3, 1, 2});  // (1, D, n, n)
  return at::upsample_bicubic2d(table, {grid_height, grid_width}, /*align_corners=*/false)
      .permute({0, 2, 3, 1})
      .reshape({grid_height * grid_width, positions.size(1)});
}

}  // namespace lexel::vqgan
