#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/words/options.h"

namespace lexel::cli {

/// `lexel eval words`, as a subcommand of `lexel eval`.
void define_eval_words(CLI::App& eval, EvalWordsOptions& options);

}  // namespace lexel::cli
