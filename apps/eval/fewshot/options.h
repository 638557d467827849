#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/language/options.h"

namespace lexel::cli {

/// What `lexel eval spae-fewshot` was asked for, as plain data (see apps/options.h).
struct EvalFewshotOptions {
  std::string words;  // JSON lines of pictures with concept and words
  LanguageModelChoice language_model;
  std::string word_table;  // words with vectors, for the baselines
  std::string output;      // JSON report; empty: none
  std::vector<int64_t> ways = {2, 5};
  int64_t words_per_picture = 5;  // the first so many: two layers of a pyramid
  int64_t episodes = 50;          // of each setting
  int64_t seed = 0;
  bool quiet = false;
};

/// Few-shot classification of pictures by a frozen language model that sees their words alone, as in the paper: without
/// induction; with it and 1, 3 or 5 shots a class; with 1 shot repeated 3 or 5 times. Beside it: the same on true caption words where
/// the file has them, nearest class mean and nearest class name by word vectors, and chance, on the same episodes. A
/// table on stdout, JSON on request.
///
/// returns  0
/// throws   Error(kBadData), Error(kIo) of the files; Error(kUsage) fewer pictures than an episode needs; what the language
///          model throws
/// source   Yu et al. 2023, arXiv:2306.17842, few-shot classification
int run_eval_fewshot(const EvalFewshotOptions& options);

}  // namespace lexel::cli
