#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/options.h"

namespace lexel::cli {

/// `lexel eval tokenizer` as a subcommand of `lexel`; `options` are filled by a clean parse.
/// returns  the subcommand "eval"
CLI::App* define_eval(CLI::App& lexel, EvalTokenizerOptions& options);

}  // namespace lexel::cli
