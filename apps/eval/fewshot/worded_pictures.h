#pragma once

#include <string>
#include <vector>

namespace lexel::cli {

/// A picture that a language model is to see as words.
struct WordedPicture {
  std::string picture;                     // its name
  std::string label;                       // what it shows: its concept
  std::vector<std::string> words;          // a tokenizer's
  std::vector<std::string> caption_words;  // true ones; may be empty
};

/// Reads JSON lines: {"picture": "a.png", "concept": "cat", "words": ["pet", ...], "caption_words": [...]}; the last may be missing,
/// other keys are passed over, and so are empty lines.
///
/// most     words of a list that are kept
/// throws   Error(kIo); Error(kBadData) naming the line: no JSON object, a key that is missing or of another type, no words, a
///          word that is empty or holds a line break; a file past 256 MB
std::vector<WordedPicture> read_worded_pictures(const std::string& path, int64_t most);

}  // namespace lexel::cli
