#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/train/task_options.h"

namespace lexel::cli {

/// What `lexel train upsampler` was asked for.
struct TrainUpsamplerOptions {
  TrainTaskOptions task;
  std::vector<std::string> data;  // pictures: files, folders, tars, lists
  std::string tokenizer;          // the picture tokenizer's model file
  std::string perceptual;         // weights of the perceptual net (.pth); empty: no perceptual loss
  int64_t workers = 1;            // threads that decode pictures and cut crops
  int64_t cache_mb = 1024;        // memory for decoded pictures, MiB
  std::string weights = "bf16";   // convolutions in the model files: "fp32", "bf16", "fp16"
};

/// Trains an upsampler on top of a tokenizer and writes into the run's folder what every training does.
///
/// returns  0
/// throws   Error(kUsage) on options, recipe or data that cannot be; what train::run_task throws
int run_train_upsampler(const TrainUpsamplerOptions& options);

}  // namespace lexel::cli
