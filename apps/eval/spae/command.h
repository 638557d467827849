#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/spae/options.h"

namespace lexel::cli {

/// `lexel eval spae`, as a subcommand of `lexel eval`.
void define_eval_spae(CLI::App& eval, EvalSpaeOptions& options);

}  // namespace lexel::cli
