#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/train/task_options.h"

namespace lexel::cli {

/// What `lexel train generator` was asked for.
struct TrainGeneratorOptions {
  TrainTaskOptions task;
  std::string sprites;  // tar of `lexel data fetch sprites`; empty: no composed scenes
  std::vector<std::string> backgrounds;  // pictures behind the things
  std::vector<std::string> data;  // captioned pictures: files, folders, tars, lists; token files
  std::string tokenizer;          // the picture tokenizer's model file
  std::string text;               // the text tokenizer's; empty: trained from the captions
  std::string
      from;  // generator whose weights and text tokenizer the run starts with; empty: fresh ones
  std::string cache;    // keeps the tokens of composed scenes in this file; empty: in memory only
  int64_t workers = 1;  // threads that compose and decode
  std::string plan;  // file of `lexel plan`: how the model lies on the ranks; empty: as --mesh says
  std::string schedule = "gpipe";  // of a pipeline without a plan: "gpipe", "1f1b", "circular"
  int64_t rounds = 1;              // of a circular one
  std::string
      trace;  // timeline of the last step: SVG by its name, else JSON of chrome's traces; empty: none
  std::string weights = "int8";  // matrices in the model files: "fp32", "bf16", "int8"
};

/// Trains a generator and writes into the run's folder what every training does, and text.model where it trained a text
/// tokenizer.
///
/// returns  0
/// throws   Error(kUsage) on options, recipe or data that cannot be; what train::run_task throws
int run_train_generator(const TrainGeneratorOptions& options);

}  // namespace lexel::cli
