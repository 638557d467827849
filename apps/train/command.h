#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "apps/train/options.h"

namespace lexel::cli {

/// `lexel train tokenizer` as a subcommand of `lexel`. The subcommand "train" is returned; `options` are
/// filled by a clean parse.
CLI::App* define_train(CLI::App& lexel, TrainCommands& options);

/// Adds to a subcommand what every kind of training by a recipe has: --recipe, --output, --resume, --set, --minutes,
/// --steps, --batch, --seed, --device, --quiet.
void define_task_options(CLI::App& command, TrainTaskOptions& options);

// Options that several kinds have.

/// --mesh and --timeout, of trainings that several ranks can share.
void add_mesh_options(CLI::App& command, TrainTaskOptions& options);
void add_pictures_option(CLI::App& command, std::vector<std::string>& data);  // --data, required
/// --sprites, which is returned, and --backgrounds.
CLI::Option* add_scene_options(CLI::App& command, std::string& sprites,
                               std::vector<std::string>& backgrounds);
void add_tokenizer_option(CLI::App& command, std::string& tokenizer);  // the picture tokenizer
void add_workers_option(CLI::App& command, int64_t& workers, const char* what);
void add_cache_option(CLI::App& command, int64_t& cache_mb);
/// --weights: "fp32", "bf16" or `narrow`, which is "fp16" or "int8".
void add_weights_option(CLI::App& command, std::string& weights, const std::string& narrow);

}  // namespace lexel::cli
