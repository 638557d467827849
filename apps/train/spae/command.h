#pragma once

#include <CLI/CLI.hpp>

#include "apps/train/options.h"

namespace lexel::cli {

/// `lexel train spae` as a subcommand of `lexel train`; `options` are filled by a clean parse.
void define_train_spae(CLI::App& train, TrainSpaeOptions& options);

}  // namespace lexel::cli
