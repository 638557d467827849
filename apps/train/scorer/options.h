#pragma once

#include <string>
#include <vector>

#include "apps/train/task_options.h"

namespace lexel::cli {

/// What `lexel train scorer` was asked for.
struct TrainScorerOptions {
  TrainTaskOptions task;
  std::string sprites;                   // tar of `lexel data fetch sprites`
  std::vector<std::string> backgrounds;  // pictures behind the things; may be empty
  std::string text;                      // the text tokenizer's model file
  std::string tokenizer;                 // the picture tokenizer's: decoded pictures are judged
};

/// Trains a scorer of pictures and captions on composed scenes.
///
/// returns  0
/// throws   Error(kUsage) on options, recipe or data that cannot be; what loading and train::run_task throw
int run_train_scorer(const TrainScorerOptions& options);

}  // namespace lexel::cli
