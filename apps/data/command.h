#pragma once

#include <CLI/CLI.hpp>

#include "apps/data/compose/options.h"
#include "apps/data/fetch.h"

namespace lexel::cli {

/// What `lexel data ...` was asked for.
struct DataCommands {
  data::FetchOptions fetch;  // and list
  data::ComposeOptions compose;
};

/// `lexel data fetch`, `list` and `compose` as subcommands of `lexel`; `commands` is filled by a clean parse.
void define_data(CLI::App& lexel, DataCommands& commands);

}  // namespace lexel::cli
