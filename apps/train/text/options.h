#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel train text` was asked for.
struct TrainTextOptions {
  std::vector<std::string>
      captions;                 // .txt (a caption a line), .jsonl and .tar (their "caption" fields)
  std::string output;           // the SentencePiece model file
  int64_t vocabulary = 16'000;  // pieces wanted
  int64_t max_tokens = 128;     // what the coverage report counts as cut
  double character_coverage = 0.9995;
  bool keep_case = false;
  bool quiet = false;
};

/// Trains a text tokenizer, writes it, and prints how well it covers its captions on stdout.
///
/// returns  0
/// throws   what read_captions and train_text_tokenizer throw; Error(kIo)
int run_train_text(const TrainTextOptions& options);

}  // namespace lexel::cli
