#pragma once

#include <CLI/CLI.hpp>

#include "apps/train/options.h"

namespace lexel::cli {

/// `lexel train tokenizer` as a subcommand of `lexel`. The subcommand "train" is returned; `options` are
/// filled by a clean parse.
CLI::App* define_train(CLI::App& lexel, TrainCommands& options);

}  // namespace lexel::cli
