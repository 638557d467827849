#pragma once

#include <string>
#include <vector>

#include "apps/train/task_options.h"

namespace lexel::cli {

/// What `lexel train detector` was asked for.
struct TrainDetectorOptions {
  TrainTaskOptions task;
  std::string sprites = "data/sprites.tar";  // tar of `lexel data fetch sprites`
  std::vector<std::string> backgrounds;      // photos: files, folders, tars; may be empty
  std::string tokenizer;                     // model file of the picture tokenizer
};

/// Trains the detector of composed scenes that `lexel eval generator` judges with.
///
/// returns  0
/// throws   what train::make_detector_task and train::run_task throw
int run_train_detector(const TrainDetectorOptions& options);

}  // namespace lexel::cli
