#pragma once

#include <string>
#include <vector>

#include "apps/train/task_options.h"

namespace lexel::cli {

/// What `lexel train guide` was asked for.
struct TrainGuideOptions {
  TrainTaskOptions task;
  std::vector<std::string> data;  // captioned drawings and photos: tars, folders
  std::string words;              // word table; empty: the shipped one
  std::string classes;            // vectors of the eye's class names; empty: the shipped ones
  std::string perceptual;         // EfficientNet-Lite0 weights
  std::string weights = "int8";   // of matrices in the model file: "fp32", "bf16", "int8"
};

/// Trains the guide that tells words for pictures: a small net on frozen features.
///
/// returns  0
/// throws   Error(kUsage) on options, recipe or data that cannot be; what loading and train::run_task throw
int run_train_guide(const TrainGuideOptions& options);

}  // namespace lexel::cli
