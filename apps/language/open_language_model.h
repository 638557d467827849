#pragma once

#include <memory>

#include "apps/language/options.h"
#include "autoregressive/language_model.h"

namespace lexel::cli {

/// Opens it; a server is not asked before the first text.
///
/// throws   Error(kUsage) another precision; Error(kIo) a key file; what LocalLanguageModel and ServerLanguageModel throw
std::unique_ptr<ar::LanguageModel> open_language_model(const LanguageModelChoice& choice);

}  // namespace lexel::cli
