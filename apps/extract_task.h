#pragma once

#include "apps/options.h"

namespace lexel::cli {

/// `lexel extract-task`: of a generator whose experts are routed by task, the part that one task uses becomes a dense model file.
///
/// returns  0
/// throws   Error as load_generator, ar::task_model and write_model_file
int run_extract_task(const ExtractTaskOptions& options);

}  // namespace lexel::cli
