#include "apps/eval/detector/detector_file.h"

#include "kernels/check.h"
#include "tokenizers/io/fields_json.h"
#include "tokenizers/io/model_tensors.h"

namespace lexel::eval {
namespace {

constexpr const char* kKind = "scene_detector";

}  // namespace

ModelFile detector_file(const Detector& detector, at::ScalarType stored,
                        const std::string& provenance, const std::string& license) {
  ModelFile file;
  file.kind = kKind;
  file.config = fields_json::write(detector.config);
  file.preprocess = "{}";
  file.provenance = provenance;
  file.license = license;
  Detector view = detector;  // its tensors share the detector's memory
  file.tensors = store_parameters(parameters(view), stored);
  return file;
}

Detector read_detector(const ModelFile& file, const std::string& name, at::Device device) {
  check(file.kind == kKind, ErrorKind::kUnsupported, name, ": expected a model of kind ", kKind,
        ", got \"", file.kind, "\"");
  Detector detector = detector_layout(fields_json::read<DetectorConfig>(file.config, name));
  read_parameters(parameters(detector), file.tensors, name, device);
  return detector;
}

Detector load_detector(const std::string& path, at::Device device) {
  return read_detector(read_model_file(path), path, device);
}

}  // namespace lexel::eval
