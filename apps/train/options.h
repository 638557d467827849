#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/train/detector/options.h"
#include "apps/train/generator/options.h"
#include "apps/train/guide/options.h"
#include "apps/train/scorer/options.h"
#include "apps/train/spae/options.h"
#include "apps/train/task_options.h"
#include "apps/train/text/options.h"
#include "apps/train/upsampler/options.h"

namespace lexel::cli {

/// What `lexel train tokenizer` was asked for, as plain data (see apps/options.h).
struct TrainOptions : TrainTaskOptions {
  std::string preset;             // model of this name (vqgan::preset) in the place of the recipe's
  std::vector<std::string> data;  // files, folders, tars, lists
  int64_t workers = 1;            // loader threads
  int64_t cache_mb = 4096;        // memory for decoded pictures, MiB
  std::string weights =
      "bf16";  // dtype of matrices in the final model file: "fp32", "bf16", "fp16"
};

/// What `lexel train pack` was asked for.
struct TrainPackOptions {
  std::string recipe;
  std::vector<std::string> data;  // files, folders, tars, lists
  std::string output;             // folder
  int64_t max_mb = 30;            // of the whole folder, MiB
  int64_t max_side = 1536;        // longest of a packed picture, pixels
  int64_t held_out = 40;          // most pictures of each held-out set
  bool quiet = false;
};

/// What `lexel train results` was asked for.
struct TrainResultsOptions {
  std::string run;        // folder of a run
  std::string output;     // folder
  int64_t max_files = 8;  // in `output`
  int64_t max_mb = 16;    // of each, MiB
  bool quiet = false;
};

/// The subcommands of `lexel train`.
struct TrainCommands {
  TrainOptions tokenizer;
  TrainTextOptions text;
  TrainGeneratorOptions generator;
  TrainDetectorOptions detector;
  TrainUpsamplerOptions upsampler;
  TrainScorerOptions scorer;
  TrainGuideOptions guide;
  TrainSpaeOptions spae;
  TrainPackOptions pack;
  TrainResultsOptions results;
};

/// Trains a picture tokenizer and writes into the run's folder: recipe.json, metrics.jsonl, report.html,
/// samples.png, checkpoint.safetensors (what --resume needs) and, at the end, model.safetensors.
/// SIGINT and SIGTERM stop it after the step at hand with a checkpoint.
///
/// returns  0
/// throws   Error(kUsage) on options, recipe or data that cannot be; Error(kBadData) when the loss or a
///          gradient is not finite or the loss explodes, naming step and culprit; Error(kIo)
int run_train_tokenizer(const TrainOptions& options);

/// See train::pack_training (pack.h) and train::gather_results (results.h); their logs go to stderr.
int run_train_pack(const TrainPackOptions& options);
int run_train_results(const TrainResultsOptions& options);

}  // namespace lexel::cli
