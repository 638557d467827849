#pragma once

// Private to tokenizers/io: what both the file and the other forms rely on.

#include "tokenizers/io/token_file.h"

namespace lexel {

/// Error(kUsage) unless every picture's tokens and layout fit the rest of the file.
void check_token_file(const TokenFile& file);

}  // namespace lexel
