#include "apps/train/checkpoint.h"

#include <ATen/core/grad_mode.h>
#include <nlohmann/json.hpp>

#include "kernels/check.h"

namespace lexel::train {
namespace {

constexpr const char* kKind = "training_checkpoint";

void check_kind(const ModelFile& file, const std::string& path) {
  check(file.kind == kKind, ErrorKind::kBadData, path, ": expected a training checkpoint, got a ",
        file.kind);
}

}  // namespace

void write_checkpoint(const std::string& path, const std::string& recipe,
                      const std::string& numbers, const std::map<std::string, at::Tensor>& state) {
  ModelFile file{kKind, recipe, "{}", numbers, "not for distribution", {}};
  for (const auto& [name, tensor] : state) file.tensors[name] = tensor.detach().cpu();
  write_model_file(path, file);
}

ModelFile read_checkpoint(const std::string& path) {
  ModelFile file = read_model_file(path);
  check_kind(file, path);
  return file;
}

void restore_tensors(const ModelFile& checkpoint, const std::string& path,
                     const std::map<std::string, at::Tensor>& state) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : state) {
    const auto found = checkpoint.tensors.find(name);
    check(found != checkpoint.tensors.end(), ErrorKind::kBadData, path, ": tensor '", name,
          "' is missing");
    check(found->second.sizes() == tensor.sizes(), ErrorKind::kBadData, path, ": tensor '", name,
          "': expected shape ", tensor.sizes(), ", got ", found->second.sizes());
    tensor.detach().copy_(found->second);
  }
}

std::string checkpoint_recipe(const std::string& path, const std::string& kind) {
  const ModelFile file = read_model_file_summary(path).file;
  check_kind(file, path);
  const auto numbers = nlohmann::json::parse(file.provenance, nullptr, false);
  const std::string found = numbers.is_object() ? numbers.value("kind", "tokenizer") : "tokenizer";
  check(found == kind, ErrorKind::kBadData, path, ": expected a checkpoint of a ", kind, ", got a ",
        found, "'s");
  return file.config;
}

}  // namespace lexel::train
