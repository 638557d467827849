#pragma once

#include <CLI/CLI.hpp>

#include "apps/words/options.h"

namespace lexel::cli {

/// `lexel words` as a subcommand; `options` are filled by a clean parse.
void define_words(CLI::App& lexel, WordsOptions& options);

}  // namespace lexel::cli
