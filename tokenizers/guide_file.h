#pragma once

#include <functional>
#include <optional>
#include <string>

#include "spae/semantic_guide.h"
#include "tokenizers/io/model_file.h"

namespace lexel {

/// A guide as a model file of kind "semantic_guide", its frozen eye inside: one file is enough to run, beside the words.
///
/// stored   as store_parameters has it, and what it throws
ModelFile guide_file(const spae::DualEncoder& guide, at::ScalarType stored,
                     const std::string& provenance = "{}", const std::string& license = "");

/// The inverse: float32 on `device`. Nothing is allocated before config and shapes agree.
///
/// name     stands for the file in messages
/// throws   Error(kUnsupported) another kind; Error(kBadData) naming the key
spae::DualEncoder read_guide(const ModelFile& file, const std::string& name, at::Device device);

/// The guide's eye inside of another model's file, what a SPAE with a semantic path needs to run alone: its convolutions as
/// "guide.eye.NAME" and the guide's config as "guide.config" (U8, JSON).
///
/// stored   as in guide_file
void add_eye(const spae::DualEncoder& guide, at::ScalarType stored, ModelFile& file);

/// A guide of which guide_features() works and nothing else; none where the file holds no eye.
///
/// throws   Error(kBadData) as read_guide
std::optional<spae::DualEncoder> eye_of(const ModelFile& file, const std::string& name,
                                        at::Device device);

/// guide_features() of the eye in a file, as a SPAE of that file wants them: each picture alone, whatever the batch. Empty where
/// the file holds no eye.
///
/// throws   as eye_of
std::function<at::Tensor(const at::Tensor& images)> features_by_eye(const ModelFile& file,
                                                                    const std::string& name,
                                                                    at::Device device);

/// read_model_file and read_guide.
spae::DualEncoder load_guide(const std::string& path, at::Device device);

}  // namespace lexel
