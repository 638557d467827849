#pragma once

#include "apps/options.h"

namespace lexel::cli {

/// `lexel import`: a public checkpoint becomes a Lexel model file.
///
/// returns  0
/// throws   Error as import_checkpoint and write_model_file
int run_import(const ImportOptions& options);

}  // namespace lexel::cli
