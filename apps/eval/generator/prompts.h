#pragma once

#include <string>
#include <vector>

namespace lexel::eval {

/// A prompt with what it is to try.
struct Prompt {
  std::string text, category, challenge, note;
};

struct PromptFile {
  std::vector<Prompt> prompts;
  std::vector<std::string> problems;  // one line each, "NAME:17: ...": lines that were left out
  std::string hash;                   // SHA-256 of the file, hex
};

/// A table as PartiPrompts comes: a first line "Prompt, Category, Challenge, Note", fields between tabs, no quoting (a
/// quotation mark is a character as any other), UTF-8. Empty lines are passed over, broken ones are left out
/// and reported: another number of fields, no prompt, no category, bytes that are not UTF-8.
///
/// throws   Error(kIo); Error(kBadData) another first line, no prompt at all, more than 64 MB
/// source   Yu et al. 2022, arXiv:2206.10789, section 4 (P2)
PromptFile read_prompts(const std::string& path);

}  // namespace lexel::eval
