#include "autoregressive/parallel/sharded_drawing.h"

#include <ATen/core/grad_mode.h>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autoregressive/parallel/annotations.h"
#include "kernels/check.h"

namespace lexel::parallel {
namespace {

constexpr const char* kAxis = "tensor";

/// Whether rows of the weight are shared out: all matrices of blocks and softmax, with their biases. Experts are whole.
bool is_shared(const std::string& name) {
  if (name.starts_with("softmax.")) return true;
  for (const char* whole : {".norm.", ".experts.", ".router", ".tasks"})
    if (name.find(whole) != std::string::npos) return false;
  return name.find(".blocks.") != std::string::npos;
}

/// Rows that stay together: a head's.
int64_t rows_of_unit(const std::string& name, const ar::Config& config) {
  for (const char* layer : {".qkv.", ".q.", ".kv."})
    if (name.find(layer) != std::string::npos) return config.width / config.heads;
  return 1;
}

/// The share's rows of a weight; of one with stacked matrices those of each.
at::Tensor own_rows(const at::Tensor& weight, int64_t matrices, int64_t unit,
                    const kernels::DecodeShare& share) {
  std::vector<int64_t> shape = weight.sizes().vec();
  const int64_t units = shape[0] / matrices / unit;
  shape[0] /= matrices;
  shape.insert(shape.begin(), matrices);
  return weight.reshape(shape)
      .narrow(1, share.first(units) * unit, share.own(units) * unit)
      .flatten(0, 1)
      .clone(at::MemoryFormat::Contiguous);
}

void check_shares(const ar::Config& config, int64_t ranks) {
  const auto check_count = [ranks](int64_t count, const char* what) {
    check(count >= ranks, ErrorKind::kUsage, "axis ", kAxis, ": ", ranks, " ranks cannot share ",
          count, " ", what);
  };
  check_count(config.heads, "heads");
  check_count(config.hidden, "hidden units");
  check_count(config.codebook_size, "codes");
}

}  // namespace

ar::PackedModel pack_share(ar::Model model, kernels::WeightFormat format, Mesh& mesh) {
  const at::NoGradGuard no_grad;
  const auto group = std::make_shared<Group>(mesh.along(kAxis));
  check_shares(model.config, group->size());
  kernels::DecodeShare share;
  share.rank = group->rank();
  share.ranks = group->size();
  share.gather = [group](const at::Tensor& part) {
    return group->all_gather(part, 1).contiguous();
  };
  for (const Parameter& p : ar::parameters(model)) {
    if (!is_shared(p.name) || share.ranks == 1) continue;
    *p.tensor = own_rows(p.tensor->detach(), stacked_matrices(model.config, p.name),
                         rows_of_unit(p.name, model.config), share);
  }
  ar::PackedModel packed = ar::pack(std::move(model), format);
  packed.share = std::move(share);
  return packed;
}

int64_t step_bytes(const ar::Config& config, int64_t rows, int64_t ranks) {
  const auto part = [ranks](int64_t units) { return (units + ranks - 1) / ranks; };
  const int64_t heads = part(config.heads) * (config.width / config.heads);
  const int64_t width = part(config.width);
  int64_t attention = heads;
  if (config.attention_output) attention += width;
  if (config.text_depth > 0) attention += heads + width;
  int64_t values = config.depth * attention + part(config.codebook_size);
  for (int64_t i = 0; i < config.depth; ++i) {
    const bool has_experts = ar::has_experts(config, i);
    if (has_experts && config.routing != "static") continue;
    values += part(has_experts ? config.experts * config.hidden : config.hidden) + width;
  }
  return (ranks - 1) * 4 * rows * values;
}

}  // namespace lexel::parallel
