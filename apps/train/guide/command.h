#pragma once

#include <CLI/CLI.hpp>

#include "apps/train/options.h"

namespace lexel::cli {

/// `lexel train guide` as a subcommand of `lexel train`; `options` are filled by a clean parse.
void define_train_guide(CLI::App& train, TrainGuideOptions& options);

}  // namespace lexel::cli
