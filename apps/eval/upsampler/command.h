#pragma once

#include <CLI/CLI.hpp>

#include "apps/eval/upsampler/options.h"

namespace lexel::cli {

/// `lexel eval upsampler`, as a subcommand of `lexel eval`.
void define_eval_upsampler(CLI::App& eval, EvalUpsamplerOptions& options);

}  // namespace lexel::cli
