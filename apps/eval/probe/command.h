#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/probe/options.h"

namespace lexel::cli {

/// `lexel eval probe`; `options` are filled by a clean parse.
void define_eval_probe(CLI::App& eval, EvalProbeOptions& options);

}  // namespace lexel::cli
