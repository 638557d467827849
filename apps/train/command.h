#pragma once

#include <CLI/CLI.hpp>

#include "apps/train/options.h"

namespace lexel::cli {

/// `lexel train tokenizer` as a subcommand of `lexel`. The subcommand "train" is returned; `options` are
/// filled by a clean parse.
CLI::App* define_train(CLI::App& lexel, TrainCommands& options);

/// Adds to a subcommand what every kind of training on the common runner has: --recipe, --output, --resume, --set, --minutes,
/// --steps, --batch, --seed, --device, --quiet.
void define_task_options(CLI::App& command, TrainTaskOptions& options);

}  // namespace lexel::cli
