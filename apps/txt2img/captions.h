#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// A caption and where it came from.
struct Caption {
  std::string text;
  int64_t number =
      0;  // among all captions asked for, broken ones too: mending one leaves the others' pictures
  std::string where;  // "caption 2", "prompts.txt, line 17": for messages
};

struct Captions {
  std::vector<Caption> sound;
  std::vector<std::string> problems;  // one line for each caption that cannot be drawn
};

/// Captions of the command line, or one a line of a file. Lines end in \n or \r\n, blank ones are passed over.
///
/// given    captions as arguments
/// file     a path, "-" for stdin, or empty: `given` counts
/// throws   Error(kIo), Error(kBadData) more than 64 MiB, or no caption at all
Captions read_captions(const std::vector<std::string>& given, const std::string& file);

/// A name for files: the caption's ASCII letters and digits in lower case, "-" for the rest, at most 48 characters;
/// "picture" where none is left.
std::string slug(const std::string& caption);

}  // namespace lexel::cli
