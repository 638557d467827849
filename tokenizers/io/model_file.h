#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lexel {

/// A Lexel model file: one .safetensors whose metadata says everything needed to run it
/// (`lexel.format`, `lexel.kind`, `lexel.config`, `lexel.preprocess`, `lexel.provenance`,
/// `lexel.license`).
struct ModelFile {
  std::string kind;        // "vit_vqgan", later "spae", "parti", ...; "training_checkpoint"
  std::string config;      // JSON object, every field of the model's config
  std::string preprocess;  // JSON object, see config_json.h; "{}" for a kind without pictures
  std::string
      provenance;       // JSON object: command, data, steps, seed, device, revision, metrics, date
  std::string license;  // SPDX id or a sentence
  std::map<std::string, at::Tensor> tensors;  // CPU
};

inline constexpr int kModelFormat = 1;  // `lexel.format` of what write_model_file writes

/// Reads and checks a model file. Tensors keep the dtype of the file; who uses them widens them.
///
/// throws   Error(kIo) cannot be opened; Error(kBadData) not a safetensors file, header longer than
/// the
///          file, overlapping or out-of-range tensors, unknown dtype, a key of the metadata missing
///          or not JSON, a tensor that is not finite (named); Error(kUnsupported) a newer format
///          version
ModelFile read_model_file(const std::string& path);

/// What a model computes, as 64 hex digits: SHA-256 over kind, config, preprocess and every tensor (name, dtype, shape,
/// bytes). Provenance and licence do not count, so a file that was only described anew keeps it.
std::string model_fingerprint(const ModelFile& file);

/// Metadata only, for `lexel info`: no tensor is read.
struct ModelFileSummary {
  ModelFile file;  // tensors empty
  std::map<std::string, std::vector<int64_t>> shapes;
  std::map<std::string, std::string> dtypes;  // "F32", "BF16", ...
  int64_t bytes = 0;                          // of the file
};
/// throws   as read_model_file, but for tensors that are not finite
ModelFileSummary read_model_file_summary(const std::string& path);

/// Writes atomically. Tensors keep their dtype (float32, bfloat16, float16, integers, uint8).
///
/// throws   Error(kUsage) an empty kind, or a text that must be a JSON object and is not;
/// Error(kIo)
void write_model_file(const std::string& path, const ModelFile& file);

}  // namespace lexel
