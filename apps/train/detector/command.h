#pragma once

#include <CLI/CLI.hpp>

#include "apps/train/options.h"

namespace lexel::cli {

/// `lexel train detector` as a subcommand of `lexel train`; `options` are filled by a clean parse.
void define_train_detector(CLI::App& train, TrainDetectorOptions& options);

}  // namespace lexel::cli
