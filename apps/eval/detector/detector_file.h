#pragma once

#include <string>

#include "apps/eval/detector/detector.h"
#include "tokenizers/io/model_file.h"

namespace lexel::eval {

/// A detector as a model file of kind "scene_detector".
///
/// stored   as store_parameters has it, and what it throws
ModelFile detector_file(const Detector& detector, at::ScalarType stored,
                        const std::string& provenance = "{}", const std::string& license = "");

/// The inverse: float32 on `device`. Nothing is allocated before config and shapes agree.
///
/// name     stands for the file in messages
/// throws   Error(kUnsupported) another kind; Error(kBadData) naming the key
Detector read_detector(const ModelFile& file, const std::string& name, at::Device device);

/// read_model_file and read_detector.
Detector load_detector(const std::string& path, at::Device device);

}  // namespace lexel::eval
