#pragma once

#include <CLI/CLI.hpp>

#include "apps/bench/options.h"

namespace lexel::cli {

/// `lexel bench kernels` as a subcommand of `lexel`; `options` are filled by a clean parse.
/// returns  the subcommand "bench"
CLI::App* define_bench(CLI::App& lexel, bench::BenchOptions& options);

}  // namespace lexel::cli
