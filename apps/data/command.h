#pragma once

#include <CLI/CLI.hpp>

#include "apps/data/fetch.h"

namespace lexel::cli {

/// `lexel data fetch` and `lexel data list` as subcommands of `lexel`; `options` are filled by a clean parse.
/// returns  the subcommand "data"
CLI::App* define_data(CLI::App& lexel, data::FetchOptions& options);

}  // namespace lexel::cli
