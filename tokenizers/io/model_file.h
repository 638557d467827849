#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace lexel {

/// A Lexel model file: one .safetensors whose metadata says everything needed to run it.
struct ModelFile {
  std::string kind;        // "vit_vqgan", later "spae", "parti", ...; "training_checkpoint"
  std::string config;      // JSON object, every field of the model's config
  std::string preprocess;  // JSON object, see preprocess.h
  std::string provenance;  // JSON object: command, data, steps, seed, device, revision, metrics, date
  std::string license;     // SPDX id or a sentence
  std::map<std::string, at::Tensor> tensors;  // CPU
};

/// Reads and checks a model file. Tensors are read lazily from a mapped file, widened by the caller.
///
/// throws   Error(kIo) cannot be opened; Error(kBadData) not a safetensors file, header longer than the
///          file, overlapping or out-of-range tensors, unknown dtype, a key of the metadata missing,
///          a tensor that is not finite (named); Error(kUnsupported) a newer format version
ModelFile read_model_file(const std::string& path);

/// Metadata only, for `lexel info`: no tensor is read. Shapes are in `shapes`.
struct ModelFileSummary {
  ModelFile file;  // tensors empty
  std::map<std::string, std::vector<int64_t>> shapes;
  std::map<std::string, std::string> dtypes;
  int64_t bytes = 0;
};
ModelFileSummary read_model_file_summary(const std::string& path);

/// Writes atomically. Tensors keep their dtype (float32, bfloat16, float16, integers, uint8).
void write_model_file(const std::string& path, const ModelFile& file);

}  // namespace lexel
