#pragma once

#include <CLI/CLI.hpp>

#include "apps/plan/options.h"

namespace lexel::cli {

/// `lexel plan` as a subcommand; `options` are filled by a clean parse.
void define_plan(CLI::App& lexel, PlanOptions& options);

}  // namespace lexel::cli
