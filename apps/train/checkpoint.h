#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/train/state_piece.h"
#include "autoregressive/parallel/world.h"
#include "tokenizers/io/model_file.h"

namespace lexel::train {

/// A run's whole state: one logical model, whatever the mesh that saved it.
///
/// The file checkpoint.safetensors (of kind "training_checkpoint": the recipe as its config, the numbers as JSON in the place of a
/// provenance) holds the tensors of a run on one rank. Of a run on several ranks each rank writes a part,
/// checkpoint-STEP-RANK-of-RANKS.safetensors, and checkpoint.safetensors names them with their sizes and SHA-256 and holds no tensor.
/// It is renamed into place last, when all parts are whole: the checkpoint before it counts until then.
struct Checkpoint {
  std::string recipe, numbers;   // JSON
  std::vector<ModelFile> files;  // with the tensors
};

/// Writes one, on all ranks together. Parts of checkpoints before it are removed.
///
/// path     of checkpoint.safetensors
/// numbers  JSON object with "step"
/// pieces   of this rank
/// throws   Error(kIo) when this rank cannot write, or another rank does not come
void write_checkpoint(const std::string& path, const std::string& recipe,
                      const std::string& numbers, const std::vector<StatePiece>& pieces,
                      const parallel::World& world = {});

/// throws   Error(kIo); Error(kBadData) when the file is no training checkpoint, or a part of it is missing, has another size or
///          other bytes than it was written with (named)
Checkpoint read_checkpoint(const std::string& path);

/// Copies what a checkpoint holds into a run's pieces, which share storage with its model. Any mesh can read what any other wrote.
///
/// throws   Error(kBadData) naming the first tensor that is missing, incomplete or of another shape
void restore_pieces(const Checkpoint& checkpoint, const std::string& path,
                    const std::vector<StatePiece>& pieces);

/// The recipe of a run's checkpoint; no tensor is read.
///
/// kind     of training that is wanted: "generator"
/// throws   Error(kIo); Error(kBadData) when the file is no checkpoint of this kind
std::string checkpoint_recipe(const std::string& path, const std::string& kind);

}  // namespace lexel::train
