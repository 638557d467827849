#include "autoregressive/parallel/annotations.h"

#include <iomanip>
#include <optional>
#include <sstream>

#include "autoregressive/expert_layer.h"
#include "autoregressive/model.h"
#include "kernels/check.h"

namespace lexel::parallel {
namespace {

/// One dimension of a tensor. Those of the same `name` are one and are split together.
struct Dim {
  std::string name;  // "" of one that is never split, for the reason `units`
  std::string units;
  int64_t count = 0;            // of what is shared out among ranks
  bool is_padded = false;       // it need not divide
  std::string axis = "tensor";  // that may split it
};

struct Tensor {
  std::string name;
  bool is_weight;
  std::vector<int64_t> shape;  // of a weight
  std::vector<Dim> dims;
};

Dim whole(const char* why) { return {"", why, 0}; }

bool ends_with(const std::string& name, const char* end) { return name.ends_with(end); }

/// The dimension over which a block's or the model's weight may be split, and its place; none for those of no rule.
std::optional<std::pair<size_t, Dim>> ruled(const std::string& name, const ar::Config& config) {
  const size_t last = name.rfind('.');
  if (last == std::string::npos) return {};
  const std::string layer = name.substr(0, last);  // "decoder.blocks.0.attention.qkv"
  const std::string sublayer = layer.substr(0, std::min(layer.rfind('.'), layer.size()));
  const bool is_bias = ends_with(name, ".bias");
  const Dim heads{ends_with(sublayer, ".cross") ? "cross.heads" : sublayer + ".heads", "heads",
                  config.heads};
  // Experts of one task side by side are one dense layer.
  const bool is_sparse = name.find(".feed_forward.") != std::string::npos &&
                         ar::has_experts(config, ar::block_number(name));
  const Dim hidden{sublayer + ".hidden", "hidden units",
                   is_sparse ? config.experts * config.hidden : config.hidden};
  if (ends_with(sublayer, ".experts"))
    return {{0, {sublayer, "experts", config.experts, false, "expert"}}};
  for (const char* rows : {".attention.qkv", ".cross.q", ".cross.kv"})
    if (ends_with(layer, rows)) return {{0, heads}};
  if (ends_with(layer, ".feed_forward.up")) return {{0, hidden}};
  if (layer == "softmax") return {{0, {"softmax.codes", "codes", config.codebook_size}}};
  if (is_bias) return {};
  if (ends_with(layer, ".attention.out") || ends_with(layer, ".cross.out")) return {{1, heads}};
  if (ends_with(layer, ".feed_forward.down")) return {{1, hidden}};
  if (layer == "token_embedding")
    return {{0, {"token_embedding.codes", "codes", config.codebook_size}}};
  if (layer == "text_embedding")
    return {{0, {"text_embedding.pieces", "pieces", config.text_vocabulary}}};
  return {};
}

/// Every tensor that can be annotated.
std::vector<Tensor> tensors_of(const ar::Config& config) {
  std::vector<Tensor> all;
  ar::Model layout = ar::model_layout(config);
  std::map<std::string, Dim> between;  // activations between two layers
  for (const Parameter& p : ar::parameters(layout)) {
    Tensor tensor{p.name, true, p.shape, {}};
    const auto rule = ruled(p.name, config);
    for (size_t d = 0; d < p.shape.size(); ++d) {
      const bool is_split = rule.has_value() && rule->first == d;
      tensor.dims.push_back(is_split ? rule->second
                                     : whole(rule.has_value() || p.shape.size() == 1
                                                 ? "the width of the residual stream"
                                                 : "a table that all ranks read"));
    }
    if (rule.has_value() && rule->second.axis == "tensor" && !p.name.starts_with("softmax") &&
        p.name.find("embedding") == std::string::npos)
      between.emplace(rule->second.name, rule->second);
    all.push_back(std::move(tensor));
  }
  const Dim batch = whole("the batch, which axis data splits"), tokens = whole("what attends");
  for (const auto& [name, dim] : between) all.push_back({name, false, {}, {batch, tokens, dim}});
  const auto stream = [&](const std::string& stack) {
    all.push_back({stack + ".stream",
                   false,
                   {},
                   {batch,
                    {stack + ".tokens", "tokens", 0, true},
                    whole("the width of the residual stream")}});
  };
  if (config.text_depth > 0) stream("encoder");
  stream("decoder");
  all.push_back(
      {"logits", false, {}, {batch, tokens, {"softmax.codes", "codes", config.codebook_size}}});
  return all;
}

/// What is known of a dimension, and from whom.
struct Decision {
  std::string axis;  // "" replicated
  std::string tensor;
  Placement placement;
};

using Decisions = std::map<std::string, Decision>;

void decide(const Tensor& tensor, const Dim& dim, const std::string& axis,
            const Placement& placement, Decisions& decisions) {
  const auto [entry, is_new] =
      decisions.try_emplace(dim.name, Decision{axis, tensor.name, placement});
  const Decision& known = entry->second;
  check(is_new || known.axis == axis, ErrorKind::kUsage, "annotations: axis ",
        axis.empty() ? known.axis : axis, ": ", tensor.name, " ", to_text(placement),
        " contradicts ", known.tensor, " ", to_text(known.placement), ": both have the ", dim.units,
        " of ", dim.name);
}

void annotate(const Tensor& tensor, const Placement& placement, const MeshShape& mesh,
              Decisions& decisions) {
  if (!placement.split) {
    for (const Dim& dim : tensor.dims)
      if (!dim.name.empty()) decide(tensor, dim, "", placement, decisions);
    return;
  }
  const std::string where =
      concat("annotations: axis ", placement.axis, ": ", tensor.name, " ", to_text(placement));
  check(placement.dim >= 0 && placement.dim < static_cast<int64_t>(tensor.dims.size()),
        ErrorKind::kUsage, where, ": it has ", tensor.dims.size(), " dimensions");
  const Dim& dim = tensor.dims[static_cast<size_t>(placement.dim)];
  check(placement.axis == dim.axis, ErrorKind::kUsage, where, ": expected axis ", dim.axis,
        ", the one that ", dim.axis == "tensor" ? "layers" : "experts", " are split over");
  check(!dim.name.empty(), ErrorKind::kUsage, where, " would split ", dim.units);
  const int64_t ranks = mesh.length(placement.axis);
  check(dim.is_padded || dim.count % ranks == 0, ErrorKind::kUsage, where, ": ", dim.count, " ",
        dim.units, " do not divide among ", ranks, " ranks");
  decide(tensor, dim, placement.axis, placement, decisions);
}

Placement placement_of(const Tensor& tensor, const Decisions& decisions) {
  for (size_t d = 0; d < tensor.dims.size(); ++d) {
    const auto found = decisions.find(tensor.dims[d].name);
    if (found != decisions.end() && !found->second.axis.empty())
      return Placement::along(static_cast<int64_t>(d), found->second.axis);
  }
  return Placement::replicate();
}

const Placement& find(const std::map<std::string, Placement>& placements, const std::string& name) {
  const auto found = placements.find(name);
  check(found != placements.end(), ErrorKind::kUsage, "Sharding: the model has no ", name);
  return found->second;
}

}  // namespace

const Placement& Sharding::weight(const std::string& name) const { return find(weights, name); }

const Placement& Sharding::activation(const std::string& name) const {
  return find(activations, name);
}

Sharding propagate(const ar::Config& config, const std::vector<Annotation>& annotations,
                   const MeshShape& mesh) {
  const std::vector<Tensor> tensors = tensors_of(config);
  std::vector<bool> is_used(annotations.size(), false);
  Decisions decisions;
  for (const Tensor& tensor : tensors) {
    bool is_annotated = false;
    for (size_t i = 0; i < annotations.size(); ++i) {
      if (!fits(annotations[i].pattern, tensor.name)) continue;
      is_used[i] = true;
      if (!is_annotated) annotate(tensor, annotations[i].placement, mesh, decisions);
      is_annotated = true;
    }
  }
  for (size_t i = 0; i < annotations.size(); ++i)
    check(is_used[i], ErrorKind::kUsage, "annotations: ", annotations[i].pattern,
          " fits no weight or activation of the model");
  Sharding sharding;
  sharding.mesh = mesh;
  for (const Tensor& tensor : tensors) {
    (tensor.is_weight ? sharding.weights : sharding.activations)
        .emplace(tensor.name, placement_of(tensor, decisions));
    if (tensor.is_weight)
      sharding.stacks.emplace(tensor.name, stacked_matrices(config, tensor.name));
  }
  return sharding;
}

Sharding sharding_of(const ar::Config& config, const Plan& plan) {
  std::vector<Annotation> annotations = plan.annotations;
  const auto tokens =
      plan.residual == "split" ? Placement::along(1, "tensor") : Placement::replicate();
  annotations.push_back({"*.stream", tokens});
  return propagate(config, annotations, plan.mesh);
}

std::vector<Annotation> megatron_annotations(const ar::Config& config) {
  const Placement rows = Placement::along(0, "tensor");
  std::vector<Annotation> annotations = {{"*.attention.qkv.weight", rows},
                                         {"*.feed_forward.up.weight", rows},
                                         {"token_embedding.weight", rows},
                                         {"softmax.weight", rows}};
  if (config.text_depth > 0) {
    annotations.push_back({"*.cross.q.weight", rows});
    annotations.push_back({"text_embedding.weight", rows});
  }
  return annotations;
}

std::vector<Annotation> fully_partitioned_annotations(const ar::Config& config) {
  std::vector<Annotation> annotations = megatron_annotations(config);
  annotations.push_back({"*.stream", Placement::along(1, "tensor")});
  return annotations;
}

int64_t stacked_matrices(const ar::Config& config, const std::string& weight) {
  const std::string layer = weight.substr(0, std::min(weight.rfind('.'), weight.size()));
  if (layer.ends_with(".attention.qkv")) return 3;
  if (layer.ends_with(".cross.kv")) return 2;
  const bool is_gated = layer.ends_with(".feed_forward.up") && config.activation == "geglu" &&
                        !ar::has_experts(config, ar::block_number(layer));
  return is_gated ? 2 : 1;
}

std::string to_text(const Placement& placement) {
  if (!placement.split) return "replicate";
  return concat("split(", placement.dim, ",", placement.axis, ")");
}

std::string to_table(const ar::Config& config, const Sharding& sharding) {
  std::ostringstream out;
  for (const Tensor& tensor : tensors_of(config)) {
    const Placement& placement =
        tensor.is_weight ? sharding.weight(tensor.name) : sharding.activation(tensor.name);
    std::string shape = tensor.is_weight ? "" : "activation";
    for (const int64_t side : tensor.shape) shape += concat(shape.empty() ? "" : " x ", side);
    out << std::left << std::setw(44) << tensor.name << std::setw(16) << shape << to_text(placement)
        << '\n';
  }
  return out.str();
}

}  // namespace lexel::parallel
