#include "tokenizers/guide_file.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <map>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/model_tensors.h"

namespace lexel {
namespace {

constexpr const char* kKind = "semantic_guide";
constexpr const char* kInside = "guide.";  // of an eye in another model's file
constexpr const char* kInsideConfig = "guide.config";
constexpr int64_t kMaxConfigBytes = 1 << 16;

/// What guide_features() reads: the eye without its classifier.
ParameterList eye_parameters(spae::DualEncoder& guide) {
  ParameterList list;
  for (Parameter& parameter : all_parameters(guide)) {
    if (parameter.name.starts_with("eye.") && !parameter.name.starts_with("eye.classifier"))
      list.push_back(std::move(parameter));
  }
  return list;
}

ParameterList inside(ParameterList list) {
  for (Parameter& parameter : list) parameter.name = kInside + parameter.name;
  return list;
}

/// Fills the guide's tensors; convolutions as they are computed with.
void read_into(const ParameterList& list, std::map<std::string, at::Tensor> tensors,
               const std::string& name, at::Device device) {
  read_parameters(list, std::move(tensors), name, device);
  for (const Parameter& parameter : list) {
    if (parameter.tensor->dim() == 4)
      *parameter.tensor = parameter.tensor->contiguous(at::MemoryFormat::ChannelsLast);
  }
}

}  // namespace

ModelFile guide_file(const spae::DualEncoder& guide, at::ScalarType stored,
                     const std::string& provenance, const std::string& license) {
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(guide.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  spae::DualEncoder view = guide;  // its tensors share the guide's memory
  file.tensors = store_parameters(all_parameters(view), stored);
  return file;
}

spae::DualEncoder read_guide(const ModelFile& file, const std::string& name, at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  spae::DualEncoder guide =
      spae::dual_encoder_layout(fields_json::read<spae::GuideConfig>(file.config, name));
  read_into(all_parameters(guide), file.tensors, name, device);
  return guide;
}

void add_eye(const spae::DualEncoder& guide, at::ScalarType stored, ModelFile& file) {
  spae::DualEncoder view = guide;
  file.tensors.merge(store_parameters(inside(eye_parameters(view)), stored));
  const std::string config = fields_json::write(guide.config);
  file.tensors.emplace(kInsideConfig,
                       at::tensor(std::vector<uint8_t>(config.begin(), config.end()), at::kByte));
}

std::optional<spae::DualEncoder> eye_of(const ModelFile& file, const std::string& name,
                                        at::Device device) {
  const auto found = file.tensors.find(kInsideConfig);
  if (found == file.tensors.end()) return std::nullopt;
  const at::Tensor& text = found->second;
  check(text.scalar_type() == at::kByte && text.dim() == 1 && text.numel() <= kMaxConfigBytes,
        ErrorKind::kBadData, name, ": tensor \"", kInsideConfig, "\": expected up to ",
        kMaxConfigBytes, " bytes of text, got ", text.scalar_type(), " ", text.sizes());
  const at::Tensor bytes = text.contiguous();
  const auto* const first = reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>());
  spae::DualEncoder guide = spae::dual_encoder_layout(fields_json::read<spae::GuideConfig>(
      std::string(first, first + bytes.numel()), name + ": " + kInsideConfig));
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [key, tensor] : file.tensors) {
    if (key.starts_with(kInside) && key != kInsideConfig) tensors.emplace(key, tensor);
  }
  read_into(inside(eye_parameters(guide)), std::move(tensors), name, device);
  return guide;
}

std::function<at::Tensor(const at::Tensor& images)> features_by_eye(const ModelFile& file,
                                                                    const std::string& name,
                                                                    at::Device device) {
  auto eye = eye_of(file, name, device);
  if (!eye) return {};
  return [guide = std::move(*eye)](const at::Tensor& images) {
    std::vector<at::Tensor> rows;
    for (int64_t k = 0; k < images.size(0); ++k)
      rows.push_back(spae::guide_features(guide, images.narrow(0, k, 1)));
    return rows.empty() ? at::empty({0, vqgan::kDepthFeatures}, images.options())
                        : at::cat(rows);  // (B, F)
  };
}

spae::DualEncoder load_guide(const std::string& path, at::Device device) {
  return read_guide(read_model_file(path), path, device);
}

}  // namespace lexel
