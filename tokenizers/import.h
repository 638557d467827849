#pragma once

#include <cstdint>
#include <string>

#include "tokenizers/io/model_file.h"

namespace lexel {

/// A checkpoint of a public project as a Lexel model file: the family is recognised by its tensors, a table of
/// key rules renames and reshapes them, the config comes from their shapes (and, in a .safetensors file, from
/// a "config" in its metadata). Known: enhancing-transformers ViTVQ.
///
/// path     .safetensors, .ckpt or .pth, told apart by content; keys under "weights/" win over others
/// heads    of the encoder's attention; 0: from the metadata, else heads of width 64
/// returns  float32 tensors; the provenance names file, SHA-256 and family
/// throws   what SafetensorsFile and read_torch_checkpoint throw; Error(kUnsupported) no known family;
///          Error(kBadData) naming the first tensor that is missing, unknown or of a wrong shape, under the
///          other project's name; Error(kUsage) heads that do not divide the attention's width
ModelFile import_checkpoint(const std::string& path, int64_t heads = 0);

}  // namespace lexel
