#pragma once

#include "apps/options.h"

namespace lexel::cli {

/// Pictures to tokens: the work of the program img2tok. Writes one token file, or nothing.
///
/// returns  0
/// throws   Error: what the model, the pictures or the file system say; a bad picture is an error
///          unless options.skip_bad
int run_img2tok(const Img2TokOptions& options);

}  // namespace lexel::cli
