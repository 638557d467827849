#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>

#include "apps/train/tokenizer/training_state.h"
#include "autoregressive/parallel/mesh.h"

namespace lexel::train {

/// What all ranks of a run hold alike: the codebook, and along the axis "tensor" every weight of the model that is not split.
std::map<std::string, at::Tensor> weights_of_all_ranks(const TrainingState& state);

/// Compares checksums of the tensors' bits over all ranks of the mesh. All ranks call, with the same names.
///
/// weights  float32
/// step     finished steps, for the message
/// throws   Error(kInternal) on every rank, naming the first tensor that differs
void check_same_weights(parallel::Mesh& mesh, const std::map<std::string, at::Tensor>& weights,
                        int64_t step);

}  // namespace lexel::train
