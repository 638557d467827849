#include "apps/eval/detector/detector_file.h"

#include <ATen/ops/isfinite.h>

#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"

namespace lexel::eval {
namespace {

constexpr const char* kKind = "scene_detector";

}  // namespace

ModelFile detector_file(const Detector& detector, at::ScalarType stored,
                        const std::string& provenance, const std::string& license) {
  check_arg(stored == at::kFloat || stored == at::kBFloat16, "detector_file",
            "expected float32 or bfloat16, got ", stored);
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(detector.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  Detector view = detector;  // its tensors share the detector's memory
  for (const auto& [key, tensor] : named_tensors(parameters(view))) {
    const at::Tensor value = tensor.cpu().to(tensor.dim() > 1 ? stored : at::kFloat).contiguous();
    check(at::isfinite(value).all().item<bool>(), ErrorKind::kBadData, "tensor \"", key,
          "\" holds a value that is not finite");
    file.tensors.emplace(key, value);
  }
  return file;
}

Detector read_detector(const ModelFile& file, const std::string& name, at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  Detector detector = detector_layout(fields_json::read<DetectorConfig>(file.config, name));
  const ParameterList list = parameters(detector);
  for (const Parameter& parameter : list) {
    const auto found = file.tensors.find(parameter.name);
    check(found != file.tensors.end(), ErrorKind::kBadData, name, ": tensor \"", parameter.name,
          "\" is missing");
    const at::Tensor& value = found->second;
    check(value.sizes() == at::IntArrayRef(parameter.shape) && value.is_floating_point(),
          ErrorKind::kBadData, name, ": tensor \"", parameter.name, "\": expected floats of shape ",
          at::IntArrayRef(parameter.shape), ", got ", value.scalar_type(), " ", value.sizes());
    check(at::isfinite(value).all().item<bool>(), ErrorKind::kBadData, name, ": tensor \"",
          parameter.name, "\" holds a value that is not finite");
  }
  check(file.tensors.size() == list.size(), ErrorKind::kBadData, name, ": expected ", list.size(),
        " tensors, got ", file.tensors.size());
  for (const Parameter& parameter : list) {
    *parameter.tensor = file.tensors.at(parameter.name)
                            .to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  }
  return detector;
}

Detector load_detector(const std::string& path, at::Device device) {
  return read_detector(read_model_file(path), path, device);
}

}  // namespace lexel::eval
