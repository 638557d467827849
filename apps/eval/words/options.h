#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel eval words` was asked for, as plain data (see apps/options.h).
struct EvalWordsOptions {
  std::string table;  // word table (tokenizers/word_table.h)
  std::vector<int64_t> widths = {16, 32, 64, 128,
                                 256};  // of the codes; those past the table's are left out
  int64_t words = 6;                    // on one vector, at most
  int64_t vectors = 1500;               // random ones
  int64_t seed = 1;
  std::string output;  // JSON; empty: none
  std::string chart;   // SVG; empty: none
};

/// How well a table of words serves as SPAE's frozen codebook: the mean squared error of random unit vectors after 1, 2 ... words at
/// one position, by streaming averages and by residuals, at each width of the codes. What falls can draw; what rises
/// cannot, however long it trains. A table on stdout.
///
/// returns  0
/// throws   what reading the table and writing throw; Error(kUsage) no width that the table has
int run_eval_words(const EvalWordsOptions& options);

}  // namespace lexel::cli
