#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/fewshot/options.h"

namespace lexel::cli {

/// `lexel eval spae-fewshot`, as a subcommand of `lexel eval`.
void define_eval_fewshot(CLI::App& eval, EvalFewshotOptions& options);

}  // namespace lexel::cli
