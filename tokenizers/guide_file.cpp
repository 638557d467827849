#include "tokenizers/guide_file.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "kernels/int8_rounding.h"
#include "tokenizers/io/fields_json.h"

namespace lexel {
namespace {

constexpr const char* kKind = "semantic_guide";
constexpr const char* kScales = ".scales";
constexpr const char* kInside = "guide.";  // of an eye in another model's file
constexpr const char* kInsideConfig = "guide.config";
constexpr int64_t kMaxConfigBytes = 1 << 16;

/// Matrices and convolutions as rows of 8 bits, a scale a row.
void add_int8(const std::string& name, const at::Tensor& value, ModelFile& file) {
  const at::Tensor rows = value.flatten(1).contiguous();  // (O, I)
  at::Tensor values = rows.new_empty(rows.sizes(), rows.options().dtype(at::kChar));
  at::Tensor scales = rows.abs().amax(1);  // (O)
  const float* from = rows.const_data_ptr<float>();
  auto* to = values.mutable_data_ptr<int8_t>();
  auto* const scale = scales.mutable_data_ptr<float>();
  for (int64_t row = 0; row < rows.size(0); ++row) {
    scale[row] = kernels::int8_scale(scale[row]);
    for (int64_t i = 0; i < rows.size(1); ++i) *to++ = kernels::to_int8(*from++, scale[row]);
  }
  file.tensors.emplace(name, values.reshape(value.sizes()));
  file.tensors.emplace(name + kScales, scales);
}

void add_tensor(const std::string& name, const at::Tensor& tensor, at::ScalarType stored,
                ModelFile& file) {
  const at::Tensor value = tensor.cpu().to(at::kFloat).contiguous();
  check(at::isfinite(value).all().item<bool>(), ErrorKind::kBadData, "tensor \"", name,
        "\" holds a value that is not finite");
  if (value.dim() > 1 && stored == at::kChar) {
    add_int8(name, value, file);
  } else {
    file.tensors.emplace(name, value.dim() > 1 ? value.to(stored) : value);
  }
}

void check_stored(at::ScalarType stored, const char* function) {
  check_arg(stored == at::kFloat || stored == at::kBFloat16 || stored == at::kChar, function,
            "expected float32, bfloat16 or int8, got ", stored);
}

/// What guide_features() reads: the eye without its classifier.
ParameterList eye_parameters(spae::DualEncoder& guide) {
  ParameterList list;
  for (Parameter& parameter : all_parameters(guide)) {
    if (parameter.name.starts_with("eye.") && !parameter.name.starts_with("eye.classifier"))
      list.push_back(std::move(parameter));
  }
  return list;
}

/// One parameter, float32.
at::Tensor read_tensor(const ModelFile& file, const std::string& name, const Parameter& parameter,
                       size_t& used) {
  const auto get = [&](const std::string& key) -> const at::Tensor& {
    const auto found = file.tensors.find(key);
    check(found != file.tensors.end(), ErrorKind::kBadData, name, ": tensor \"", key,
          "\" is missing");
    ++used;
    return found->second;
  };
  const at::Tensor& value = get(parameter.name);
  const bool is_int8 = value.scalar_type() == at::kChar;
  check(value.sizes() == at::IntArrayRef(parameter.shape) && (value.is_floating_point() || is_int8),
        ErrorKind::kBadData, name, ": tensor \"", parameter.name,
        "\": expected floats or int8 of shape ", at::IntArrayRef(parameter.shape), ", got ",
        value.scalar_type(), " ", value.sizes());
  if (!is_int8) return value.to(at::kFloat);
  const std::string key = parameter.name + kScales;
  const at::Tensor& scales = get(key);
  check(scales.scalar_type() == at::kFloat && scales.sizes() == at::IntArrayRef({value.size(0)}),
        ErrorKind::kBadData, name, ": tensor \"", key, "\": expected ", value.size(0),
        " float32 numbers, got ", scales.scalar_type(), " ", scales.sizes());
  return (value.flatten(1).to(at::kFloat) * scales.unsqueeze(1)).reshape(value.sizes());
}

/// Fills a guide's tensors from "PREFIX NAME".
///
/// returns  how many tensors of the file were read
size_t fill(const ModelFile& file, const std::string& name, const std::string& prefix,
            const ParameterList& list, at::Device device) {
  size_t used = 0;
  for (const Parameter& parameter : list) {
    Parameter inside = parameter;
    inside.name = prefix + parameter.name;
    const at::Tensor value = read_tensor(file, name, inside, used);
    check(at::isfinite(value).all().item<bool>(), ErrorKind::kBadData, name, ": tensor \"",
          inside.name, "\" holds a value that is not finite");
    *parameter.tensor = value.to(device).contiguous(
        value.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
  }
  return used;
}

}  // namespace

ModelFile guide_file(const spae::DualEncoder& guide, at::ScalarType stored,
                     const std::string& provenance, const std::string& license) {
  check_stored(stored, "guide_file");
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(guide.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  spae::DualEncoder view = guide;  // its tensors share the guide's memory
  for (const auto& [key, tensor] : named_tensors(all_parameters(view)))
    add_tensor(key, tensor, stored, file);
  return file;
}

spae::DualEncoder read_guide(const ModelFile& file, const std::string& name, at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  spae::DualEncoder guide =
      spae::dual_encoder_layout(fields_json::read<spae::GuideConfig>(file.config, name));
  const size_t used = fill(file, name, "", all_parameters(guide), device);
  check(used == file.tensors.size(), ErrorKind::kBadData, name, ": expected ", used,
        " tensors, got ", file.tensors.size());
  return guide;
}

void add_eye(const spae::DualEncoder& guide, at::ScalarType stored, ModelFile& file) {
  check_stored(stored, "add_eye");
  spae::DualEncoder view = guide;
  for (const auto& [key, tensor] : named_tensors(eye_parameters(view)))
    add_tensor(kInside + key, tensor, stored, file);
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
  fill(file, name, kInside, eye_parameters(guide), device);
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
