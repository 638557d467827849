#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/words/options.h"

namespace lexel::cli {

/// The first layers as a table for a terminal: a heading each, rows as in the picture, columns aligned.
///
/// words    layer by layer, as many as the sides say
std::string word_table(const std::vector<std::string>& words, const std::vector<int64_t>& sides,
                       int64_t layers);

/// A picture's words, as a table on stdout and over the picture: the work of `lexel words`.
///
/// throws   Error(kUsage) a model whose codes are not words, more layers than it has; what loading, reading and
///          writing throw
int run_words(const WordsOptions& options);

}  // namespace lexel::cli
