#pragma once

#include <CLI/CLI.hpp>

#include "apps/language/options.h"

namespace lexel::cli {

/// --llm and what belongs to it.
void add_language_model_options(CLI::App& command, LanguageModelChoice& choice);

/// `lexel draw` as a subcommand; `options` are filled by a clean parse.
void define_draw(CLI::App& lexel, DrawOptions& options);

}  // namespace lexel::cli
