#include "autoregressive/packed_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/mm.h>
#include <span>
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

/// Rounds and packs one matrix, whose rows are shared out evenly among the parts, and releases it.
void take(at::Tensor& weight, std::span<kernels::DecodeLinear> parts, kernels::WeightFormat format,
          const ParameterList& parameters) {
  check(at::isfinite(weight).all().item<bool>(), ErrorKind::kBadData, name_of(parameters, weight),
        ": expected finite numbers");
  const auto count = static_cast<int64_t>(parts.size());
  const int64_t rows = weight.size(0) / count;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor part = weight.detach().narrow(0, i * rows, rows);
    parts[static_cast<size_t>(i)].weight =
        kernels::pack_weights(part.to(at::kFloat).contiguous(), format);
  }
  weight.reset();
}

kernels::DecodeNorm norm_of(const LayerNorm& norm) { return {norm.weight, norm.bias}; }

/// Calls visit(matrix of the model, its parts in the packed one) for each matrix that is packed. Parts get their biases.
template <class VisitParts>
void for_each_matrix(Model& model, PackedModel& packed, VisitParts&& visit_parts) {
  const Config& config = model.config;
  packed.encoder.resize(model.encoder.size());
  packed.encoder_feed_forward.resize(model.encoder.size());
  packed.blocks.resize(model.decoder.size());
  packed.feed_forward.resize(model.decoder.size());
  const auto visit = [&](Linear& linear, kernels::DecodeLinear& target) {
    if (!target.bias.defined()) target.bias = linear.bias.detach().to(at::kFloat).contiguous();
    visit_parts(linear.weight, std::span(&target, 1));
  };
  const auto visit_feed_forward = [&](FeedForward& layer, kernels::DecodeBlock& target,
                                      PackedFeedForward& outside, int64_t block) {
    if (has_experts(config, block) && config.routing != "static") {
      outside.up.resize(static_cast<size_t>(config.experts));
      outside.down.resize(static_cast<size_t>(config.experts));
      visit_parts(layer.experts.up, std::span(outside.up));
      visit_parts(layer.experts.down, std::span(outside.down));
      return;
    }
    const bool gated = !has_experts(config, block) && config.activation == "geglu";
    if (gated) {
      outside.up.resize(1);
      outside.down.resize(1);
    }
    visit(layer.up, gated ? outside.up[0] : target.up);
    visit(layer.down, gated ? outside.down[0] : target.down);
  };
  packed.text_kv.resize(config.text_depth > 0 ? model.decoder.size() : 0);
  const auto visit_both = [&](auto& block, kernels::DecodeBlock& target, PackedFeedForward& outside,
                              size_t i) {
    visit(block.attention.qkv, target.qkv);
    if (config.attention_output) visit(block.attention.out, target.out);
    visit_feed_forward(block.feed_forward, target, outside, static_cast<int64_t>(i));
  };
  for (size_t i = 0; i < model.encoder.size(); ++i) {
    visit_both(model.encoder[i], packed.encoder[i], packed.encoder_feed_forward[i], i);
  }
  for (size_t i = 0; i < model.decoder.size(); ++i) {
    visit_both(model.decoder[i], packed.blocks[i], packed.feed_forward[i], i);
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
  const auto set_outside = [&](const FeedForward& layer, PackedFeedForward& outside, bool gated) {
    outside.norm = norm_of(layer.norm);
    outside.activation = gated                         ? kernels::Activation::kGatedGelu
                         : config.activation == "relu" ? kernels::Activation::kRelu
                                                       : kernels::Activation::kGelu;
    const moe::Experts& experts = layer.experts;
    if (!experts.router.defined()) return;
    outside.router.weight = kernels::pack_weights(experts.router, kernels::WeightFormat::kFloat32);
    if (experts.tasks.defined()) outside.of_tasks = at::mm(experts.tasks, experts.router.t());
  };
  const auto set_both = [&](const auto& block, kernels::DecodeBlock& target,
                            PackedFeedForward& outside) {
    if (!outside.up.empty()) {
      set_outside(block.feed_forward, outside, outside.up.size() == 1);
    }
    target.self_norm = norm_of(block.attention.norm);
    target.feed_forward_norm = norm_of(block.feed_forward.norm);
    target.activation =
        config.activation == "relu" ? kernels::Activation::kRelu : kernels::Activation::kGelu;
  };
  for (size_t i = 0; i < packed.encoder.size(); ++i) {
    set_both(model.encoder[i], packed.encoder[i], packed.encoder_feed_forward[i]);
  }
  for (size_t i = 0; i < packed.blocks.size(); ++i) {
    kernels::DecodeBlock& target = packed.blocks[i];
    set_both(model.decoder[i], target, packed.feed_forward[i]);
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
  for_each_matrix(packed.model, packed, [&](at::Tensor& from, std::span<kernels::DecodeLinear> to) {
    take(from, to, format, list);
  });
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
  for_each_matrix(copy.model, copy, [](at::Tensor& to, std::span<kernels::DecodeLinear> from) {
    std::vector<at::Tensor> parts;
    for (const kernels::DecodeLinear& part : from) {
      parts.push_back(kernels::unpack_weights(part.weight));
    }
    to = at::cat(parts);
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
  for_each_matrix(copy.model, copy, [&](at::Tensor&, std::span<kernels::DecodeLinear> parts) {
    for (const kernels::DecodeLinear& part : parts) {
      add(part.weight.values);
      add(part.weight.scales);
    }
  });
  add(packed.positions);
  return bytes;
}

}  // namespace lexel::ar
