#pragma once

#include "apps/options.h"

namespace lexel::cli {

/// `lexel info`: says in words (or JSON) what a model file, token file, checkpoint or picture is, or what
/// this machine is and which code the kernels run on it.
///
/// returns  0
/// throws   Error for the first file that cannot be explained
int run_info(const InfoOptions& options);

}  // namespace lexel::cli
