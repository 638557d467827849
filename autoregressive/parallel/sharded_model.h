#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "autoregressive/model.h"
#include "autoregressive/parallel/annotations.h"
#include "autoregressive/parallel/mesh.h"

namespace lexel::parallel {

/// The part of a weight that the rank at `coordinate` of its axis holds; of the rows of qkv the same heads of each of its
/// matrices. A copy; the weight itself where it is replicated.
///
/// weight   as ar::parameters() has it; or a tensor beside it of the same shape (a gradient, an optimizer's moment)
/// throws   Error(kUsage) naming it where it does not divide
at::Tensor cut(const at::Tensor& weight, const std::string& name, const Sharding& sharding,
               int64_t coordinate);

/// The whole of the parts of all coordinates of its axis, in order: the inverse of cut().
at::Tensor join(const std::vector<at::Tensor>& parts, const std::string& name,
                const Sharding& sharding);

/// Every weight's part for this rank of the mesh: the model that ShardedRunner computes with. Its config is the whole model's.
ar::Model shard(const ar::Model& model, const Sharding& sharding, const Mesh& mesh);

/// ar::parameters() with the shapes of the parts, for optimizers and files of parts. `model` as shard() gives it.
ParameterList local_parameters(ar::Model& model, const Sharding& sharding);

/// The whole of a weight or gradient of which each rank of the axis has its part; all ranks call.
at::Tensor gather_whole(const at::Tensor& part, const std::string& name, const Sharding& sharding,
                        Mesh& mesh);

/// The whole model, on every rank; all ranks call.
ar::Model gather_whole(const ar::Model& model, const Sharding& sharding, Mesh& mesh);

}  // namespace lexel::parallel
