#include "autoregressive/parallel/sharded_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include "kernels/check.h"

namespace lexel::parallel {
namespace {

/// The rows of a weight by the matrices that lie behind each other in it, and back.
at::Tensor by_matrix(const at::Tensor& weight, int64_t matrices) {
  std::vector<int64_t> shape = weight.sizes().vec();
  shape[0] /= matrices;
  shape.insert(shape.begin(), matrices);
  return weight.reshape(shape);
}

}  // namespace

at::Tensor cut(const at::Tensor& weight, const std::string& name, const Sharding& sharding,
               int64_t coordinate) {
  const Placement& placement = sharding.weight(name);
  if (!placement.split) return weight;
  const int64_t ranks = sharding.mesh.length(placement.axis), dim = placement.dim;
  const int64_t matrices = dim == 0 ? sharding.stacks.at(name) : 1;
  check_arg(dim < weight.dim() && weight.size(dim) % (matrices * ranks) == 0, "parallel::cut",
            "axis ", placement.axis, ": ", name, " of ", weight.sizes(), " does not divide among ",
            ranks, " ranks");
  const at::Tensor stacked = by_matrix(weight, matrices);  // the dimension is one further
  const int64_t length = stacked.size(dim + 1) / ranks;
  return stacked.narrow(dim + 1, coordinate * length, length)
      .flatten(0, 1)
      .clone(at::MemoryFormat::Contiguous);
}

at::Tensor join(const std::vector<at::Tensor>& parts, const std::string& name,
                const Sharding& sharding) {
  const Placement& placement = sharding.weight(name);
  if (!placement.split) return parts.at(0);
  const int64_t matrices = placement.dim == 0 ? sharding.stacks.at(name) : 1;
  std::vector<at::Tensor> stacked;
  for (const at::Tensor& part : parts) stacked.push_back(by_matrix(part, matrices));
  return at::cat(stacked, placement.dim + 1).flatten(0, 1);
}

ar::Model shard(const ar::Model& model, const Sharding& sharding, const Mesh& mesh) {
  const at::NoGradGuard no_grad;
  ar::Model local = model;  // shares its tensors until they are replaced
  for (const Parameter& p : ar::parameters(local)) {
    const int64_t coordinate = mesh.coordinate(sharding.weight(p.name).axis);
    *p.tensor = cut(p.tensor->detach(), p.name, sharding, coordinate).clone();
  }
  return local;
}

ParameterList local_parameters(ar::Model& model, const Sharding& sharding) {
  ParameterList list = ar::parameters(model);
  for (Parameter& p : list) {
    const Placement& placement = sharding.weight(p.name);
    if (placement.split)
      p.shape[static_cast<size_t>(placement.dim)] /= sharding.mesh.length(placement.axis);
  }
  return list;
}

at::Tensor gather_whole(const at::Tensor& part, const std::string& name, const Sharding& sharding,
                        Mesh& mesh) {
  const Placement& placement = sharding.weight(name);
  if (!placement.split) return part;
  const at::NoGradGuard no_grad;
  const at::Tensor all =  // (n, ...)
      mesh.along(placement.axis).all_gather(part.detach().unsqueeze(0), 0);
  return join(all.unbind(0), name, sharding);
}

ar::Model gather_whole(const ar::Model& model, const Sharding& sharding, Mesh& mesh) {
  ar::Model whole = model;
  for (const Parameter& p : ar::parameters(whole))
    *p.tensor = gather_whole(p.tensor->detach(), p.name, sharding, mesh);
  return whole;
}

}  // namespace lexel::parallel
