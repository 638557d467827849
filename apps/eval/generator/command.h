#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/generator/options.h"

namespace lexel::cli {

/// `lexel eval generator` as a subcommand of `lexel eval`; `options` are filled by a clean parse.
void define_eval_generator(CLI::App& eval, EvalGeneratorOptions& options);

}  // namespace lexel::cli
