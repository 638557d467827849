#pragma once

#include <CLI/CLI.hpp>

#include "apps/launch/options.h"

namespace lexel::cli {

/// `lexel launch` as a subcommand; `options` are filled by a clean parse.
void define_launch(CLI::App& lexel, LaunchOptions& options);

}  // namespace lexel::cli
