#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// Which language model a program was told to use.
struct LanguageModelChoice {
  std::string source;        // a GGUF file, or the URL of a server: "http://127.0.0.1:8000/v1"
  std::string server_model;  // the name that the server knows it by; empty: not sent
  std::string key_file;      // first line: the server's key; empty: none
  std::string precision = "fast";  // of a file: fast or float32
  int64_t context = 4096;          // of a file: tokens at most
  double timeout_s = 120.0;        // of a server
};

/// Where `lexel data fetch smollm2` leaves the model that programs use when none is named.
inline constexpr const char* kFetchedLanguageModel = "data/smollm2-135m-instruct-q4_1.gguf";

/// What `lexel draw` was asked for, as plain data (see apps/options.h).
struct DrawOptions {
  std::string task = "deblur";  // see spae::word_task
  std::string picture;          // what is given; of task caption nothing
  std::string caption;          // of task caption: what to draw
  std::vector<std::string>
      examples;        // pictures that show the task; of task caption with captions beside them
  std::string output;  // picture to write
  std::string sheet;   // given | drawn | meant; empty: none
  std::string model;   // tokenizer of words
  LanguageModelChoice language_model;
  int64_t example_count = 4;  // at most
  int64_t layers = 3;         // of the pyramid, from the top
  int64_t parallel_layer =
      0;  // the first whose words do not see each other, from 1; 0: the last that is drawn
  int64_t words_per_pass = 2;
  int64_t context = 16;  // words that are drawn already and shown in a prompt
  uint64_t seed = 0;     // of deblur's wrong words
  std::string device = "auto";
  bool quiet = false;
};

/// Has a frozen language model draw a picture as words, after examples of a task, and redraws the words: progressive in-context
/// decoding. On stdout the words, and how many of them are those that were meant, beside what copying the input gives.
///
/// returns  0
/// throws   Error(kUsage) no examples, an example without a caption where captions are needed, more layers than there are, a
///          model whose codes are no words; what reading pictures and the language model throws
/// source   Yu et al. 2023, arXiv:2306.17842
int run_draw(const DrawOptions& options);

}  // namespace lexel::cli
