#pragma once

#include <string>
#include <vector>

#include "apps/train/task_options.h"

namespace lexel::cli {

/// What `lexel train spae` was asked for.
struct TrainSpaeOptions {
  TrainTaskOptions task;
  std::vector<std::string> data;  // captioned drawings and photos: tars, folders
  std::string words;              // word table; empty: the shipped one
  std::string guide;              // model file of `lexel train guide`
  std::string scores;      // a user's own picture-text scores, by picture; empty: the guide's
  std::string perceptual;  // EfficientNet-Lite0 weights of the perceptual loss, if it has a weight
  std::string weights = "bf16";  // of matrices in the model file: "fp32", "bf16", "fp16", "int8"
};

/// Trains SPAE: pictures to words in layers and back.
///
/// returns  0
/// throws   Error(kUsage) on options, recipe or data that cannot be; what loading and train::run_task throw
int run_train_spae(const TrainSpaeOptions& options);

}  // namespace lexel::cli
