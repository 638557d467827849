#pragma once

#include <memory>
#include <string>

#include "autoregressive/language_model.h"

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

/// Opens it; a server is not asked before the first text.
///
/// throws   Error(kUsage) another precision; Error(kIo) a key file; what LocalLanguageModel and ServerLanguageModel throw
std::unique_ptr<ar::LanguageModel> open_language_model(const LanguageModelChoice& choice);

}  // namespace lexel::cli
