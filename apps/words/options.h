#pragma once

#include <cstdint>
#include <string>

namespace lexel::cli {

/// What `lexel words` was asked for.
struct WordsOptions {
  std::string picture;
  std::string output;  // picture to write; empty: the table alone
  std::string model;
  std::string device = "auto";
  int64_t layers = 0;  // in the table; 0: those of 8 words a row at most
};

}  // namespace lexel::cli
