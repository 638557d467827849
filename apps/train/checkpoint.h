#pragma once

#include <ATen/core/Tensor.h>
#include <map>
#include <string>

#include "tokenizers/io/model_file.h"

namespace lexel::train {

/// A run's whole state as a file of kind "training_checkpoint": the recipe as its config, the numbers as JSON in the
/// place of a provenance, all tensors that change. Atomically; the file before it stays until the new one is whole.
void write_checkpoint(const std::string& path, const std::string& recipe,
                      const std::string& numbers, const std::map<std::string, at::Tensor>& state);

/// throws   Error(kIo); Error(kBadData) when the file is no training checkpoint
ModelFile read_checkpoint(const std::string& path);

/// Copies the tensors of a checkpoint into those of a run, which share storage with its model.
///
/// throws   Error(kBadData) naming the first tensor that is missing or of another shape
void restore_tensors(const ModelFile& checkpoint, const std::string& path,
                     const std::map<std::string, at::Tensor>& state);

/// The recipe of a run's checkpoint; no tensor is read.
///
/// kind     of training that is wanted: "generator"
/// throws   Error(kIo); Error(kBadData) when the file is no checkpoint of this kind
std::string checkpoint_recipe(const std::string& path, const std::string& kind);

}  // namespace lexel::train
