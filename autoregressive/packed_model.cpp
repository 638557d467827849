#include "autoregressive/packed_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <string>
#include <utility>

#include "kernels/check.h"

namespace lexel::ar {
namespace {

void check_sizes(const Config& config) {
  const int64_t head = config.width / config.heads;
  check_arg(head % 8 == 0 && head >= 8 && head <= 128, "ar::pack",
            "expected heads whose width is a multiple of 8 in 8..128, got ", config.heads,
            " heads of width ", head);
}

/// The name of a parameter by its place.
std::string name_of(const ParameterList& parameters, const at::Tensor& tensor) {
  for (const Parameter& parameter : parameters) {
    if (parameter.tensor == &tensor) return parameter.name;
  }
  return "a matrix";
}

/// Rounds and packs one matrix, and releases it.
kernels::DecodeLinear take(Linear& linear, kernels::WeightFormat format,
                           const ParameterList& parameters) {
  check(at::isfinite(linear.weight).all().item<bool>(), ErrorKind::kBadData,
        name_of(parameters, linear.weight), ": expected finite numbers");
  kernels::DecodeLinear packed;
  packed.weight = kernels::pack_weights(linear.weight.detach().to(at::kFloat).contiguous(), format);
  packed.bias = linear.bias.detach().to(at::kFloat).contiguous();
  linear.weight.reset();
  return packed;
}

kernels::DecodeNorm norm_of(const LayerNorm& norm) { return {norm.weight, norm.bias}; }

/// Calls visit(linear of the model, its place in the packed one) for each matrix that is packed.
template <class Visit>
void for_each_matrix(Model& model, PackedModel& packed, Visit&& visit) {
  const Config& config = model.config;
  packed.encoder.resize(model.encoder.size());
  packed.blocks.resize(model.decoder.size());
  packed.text_kv.resize(config.text_depth > 0 ? model.decoder.size() : 0);
  const auto visit_both = [&](auto& block, kernels::DecodeBlock& target) {
    visit(block.attention.qkv, target.qkv);
    if (config.attention_output) visit(block.attention.out, target.out);
    visit(block.feed_forward.up, target.up);
    visit(block.feed_forward.down, target.down);
  };
  for (size_t i = 0; i < model.encoder.size(); ++i) visit_both(model.encoder[i], packed.encoder[i]);
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    visit_both(model.decoder[i], packed.blocks[i]);
    if (config.text_depth == 0) continue;
    visit(model.decoder[i].cross.q, packed.blocks[i].cross_q);
    visit(model.decoder[i].cross.kv, packed.text_kv[i]);
    visit(model.decoder[i].cross.out, packed.blocks[i].cross_out);
  }
  visit(model.softmax, packed.softmax);
}

/// The parts of packed blocks that are no matrices.
void set_norms_and_masks(PackedModel& packed) {
  const Model& model = packed.model;
  const Config& config = model.config;
  const std::vector<bool> conv = conv_blocks(config);
  const auto set_both = [&](const auto& block, kernels::DecodeBlock& target) {
    target.self_norm = norm_of(block.attention.norm);
    target.feed_forward_norm = norm_of(block.feed_forward.norm);
    target.activation =
        config.activation == "relu" ? kernels::Activation::kRelu : kernels::Activation::kGelu;
  };
  for (size_t i = 0; i < packed.encoder.size(); ++i) set_both(model.encoder[i], packed.encoder[i]);
  for (size_t i = 0; i < packed.blocks.size(); ++i) {
    kernels::DecodeBlock& target = packed.blocks[i];
    set_both(model.decoder[i], target);
    if (config.text_depth > 0) target.cross_norm = norm_of(model.decoder[i].cross.norm);
    target.mask = conv[i] ? kernels::AttentionMask::conv(config.grid_width, config.conv_kernel)
                          : kernels::AttentionMask::causal();
  }
}

}  // namespace

PackedModel pack(Model model, kernels::WeightFormat format) {
  validate(model.config);
  check_sizes(model.config);
  const at::NoGradGuard no_grad;
  PackedModel packed;
  packed.format = format;
  packed.model = std::move(model);
  const Config& config = packed.model.config;
  const ParameterList list = parameters(packed.model);
  for_each_matrix(packed.model, packed,
                  [&](Linear& from, kernels::DecodeLinear& to) { to = take(from, format, list); });
  for (const Parameter& parameter : list) {  // what stays is read by kernels as it lies
    if (!parameter.tensor->defined()) continue;
    *parameter.tensor = parameter.tensor->detach().to(at::kFloat).contiguous();
  }
  set_norms_and_masks(packed);
  packed.positions =  // (h, w, D), then (N, D)
      packed.model.row_positions.unsqueeze(1)
          .add(packed.model.column_positions.unsqueeze(0))
          .reshape({config.grid_height * config.grid_width, config.width});
  return packed;
}

Model unpack(const PackedModel& packed) {
  PackedModel copy = packed;  // shares its tensors
  for_each_matrix(copy.model, copy, [](Linear& to, kernels::DecodeLinear& from) {
    to.weight = kernels::unpack_weights(from.weight);
  });
  return copy.model;
}

int64_t weight_bytes(const PackedModel& packed) {
  int64_t bytes = 0;
  const auto add = [&](const at::Tensor& tensor) {
    if (tensor.defined()) bytes += static_cast<int64_t>(tensor.nbytes());
  };
  PackedModel copy = packed;  // shares its tensors
  for (const Parameter& parameter : parameters(copy.model)) add(*parameter.tensor);
  for_each_matrix(copy.model, copy, [&](Linear&, kernels::DecodeLinear& linear) {
    add(linear.weight.values);
    add(linear.weight.scales);
  });
  add(packed.positions);
  return bytes;
}

}  // namespace lexel::ar
