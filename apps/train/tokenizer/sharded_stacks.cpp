#include "apps/train/tokenizer/sharded_stacks.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>

#include "apps/train/place_of_tensor.h"
#include "autoregressive/parallel/differentiable.h"
#include "autoregressive/parallel/sharded_model.h"
#include "kernels/check.h"

namespace lexel::train {
namespace {

/// Placements of all of the model's parameters.
parallel::Sharding sharding_of(const vqgan::Config& config, const parallel::MeshShape& mesh) {
  const auto rows = parallel::Placement::along(0, "tensor");
  const auto columns = parallel::Placement::along(1, "tensor");
  vqgan::Model layout = vqgan::model_layout(config);
  const ParameterList list = vqgan::parameters(layout);
  std::map<const at::Tensor*, parallel::Placement> split;
  std::map<const at::Tensor*, int64_t> matrices;  // behind each other in the rows; else 1
  for (vqgan::Stack* const stack : {&layout.encoder.stack, &layout.decoder.stack}) {
    for (vqgan::Block& block : stack->blocks) {
      split[&block.qkv.weight] = split[&block.qkv.bias] = rows;
      matrices[&block.qkv.weight] = matrices[&block.qkv.bias] = 3;
      split[&block.up.weight] = split[&block.up.bias] = rows;
      split[&block.out.weight] = split[&block.down.weight] = columns;
    }
  }
  parallel::Sharding sharding;
  sharding.mesh = mesh;
  for (const Parameter& p : list) {
    const auto placement = split.find(p.tensor);
    const auto stacked = matrices.find(p.tensor);
    sharding.weights[p.name] =
        placement == split.end() ? parallel::Placement::replicate() : placement->second;
    sharding.stacks[p.name] = stacked == matrices.end() ? 1 : stacked->second;
  }
  return sharding;
}

}  // namespace

void check_tokenizer_mesh(const parallel::MeshShape& mesh, const vqgan::Config& config) {
  const std::map<std::string, std::string> reasons = {
      {"expert", "a tokenizer has no experts; leave the axis out"},
      {"pipeline", "a tokenizer's two stacks fit one device; use data or tensor in its place"}};
  for (const auto& [axis, reason] : reasons)
    check(mesh.length(axis) == 1, ErrorKind::kUnsupported, "mesh ", parallel::to_text(mesh),
          ": axis ", axis, ": ", reason);
  const int64_t ranks = mesh.length("tensor");
  std::string odd;
  const auto divide = [&](const std::string& name, int64_t value) {
    if (value % ranks != 0) odd += concat(odd.empty() ? "" : ", ", name, " ", value);
  };
  divide("model.encoder.heads", config.encoder.heads);
  divide("model.encoder.hidden", config.encoder.hidden);
  divide("model.decoder.heads", config.decoder.heads);
  divide("model.decoder.hidden", config.decoder.hidden);
  check(odd.empty(), ErrorKind::kUsage, "mesh ", parallel::to_text(mesh), ": axis tensor: ", odd,
        ": expected multiples of ", ranks);
}

ShardedStacks::ShardedStacks(const vqgan::Config& config, parallel::Mesh& mesh)
    : mesh_(mesh), group_(mesh.along("tensor")), sharding_(sharding_of(config, mesh.shape())) {
  check_tokenizer_mesh(mesh.shape(), config);
  vqgan::Model layout = vqgan::model_layout(config);
  for (const Parameter& p : vqgan::parameters(layout))
    places_[p.name] = place_in_whole(p, sharding_, mesh);
}

at::Tensor ShardedStacks::enter(const at::Tensor& x) const { return parallel::copy(x, group_); }

at::Tensor ShardedStacks::leave(const vqgan::Linear& layer, const at::Tensor& x) const {
  const at::Tensor y = at::linear(x, layer.weight.to(x.scalar_type()));  // a term of the sum
  return parallel::reduce(y, group_) + layer.bias.to(x.scalar_type());   // the bias once
}

void ShardedStacks::keep_part(vqgan::Model& model) const {
  const at::NoGradGuard no_grad;
  for (const Parameter& p : vqgan::parameters(model))
    *p.tensor = parallel::cut(p.tensor->detach(), p.name, sharding_, group_.rank());
}

vqgan::Model ShardedStacks::whole(const vqgan::Model& model) {
  const at::NoGradGuard no_grad;
  vqgan::Model all = model;  // shares its tensors until they are replaced
  for (const Parameter& p : vqgan::parameters(all))
    *p.tensor = parallel::gather_whole(p.tensor->detach(), p.name, sharding_, mesh_);
  return all;
}

}  // namespace lexel::train
