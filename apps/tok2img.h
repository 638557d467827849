#pragma once

#include "apps/options.h"

namespace lexel::cli {

/// Tokens back to pictures: the work of the program tok2img.
///
/// returns  0
/// throws   Error: a model with another codebook than the file's, what the file or the file system say
int run_tok2img(const Tok2ImgOptions& options);

}  // namespace lexel::cli
