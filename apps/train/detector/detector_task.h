#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/train/task.h"

namespace lexel::train {

/// What `lexel train detector` is given beside the recipe.
struct DetectorData {
  std::string sprites;                   // tar of `lexel data fetch sprites`
  std::vector<std::string> backgrounds;  // files, folders, tars of photos; may be empty
  std::string tokenizer;                 // model file of the picture tokenizer
};

/// Training of the detector of composed scenes (apps/eval/detector/) on strewn sprites. It is judged on
/// training-side scenes of the composer, as composed and as decoded, and its threshold is chosen there.
///
/// recipe_json  of a DetectorRecipe
/// device       of the detector and the tokenizer
/// throws       Error(kUsage), Error(kBadData), Error(kIo) of recipe and data; Error(kUsage) when the
///              tokenizer's pictures are of another size than the recipe's
std::unique_ptr<Task> make_detector_task(const std::string& recipe_json, const DetectorData& data,
                                         const std::string& device);

}  // namespace lexel::train
