#pragma once

#include "apps/options.h"

namespace lexel::cli {

/// `lexel info`: says in words (or JSON) what a model file, token file, checkpoint or picture is.
///
/// returns  0
/// throws   Error for the first file that cannot be explained
int run_info(const InfoOptions& options);

}  // namespace lexel::cli
