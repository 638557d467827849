#pragma once

// Private to tokenizers.

#include <string_view>
#include <vector>

namespace lexel {

/// How a text is cut into pieces that a byte pair tokenizer does not merge across.
enum class PreTokenizer {
  kGpt2,  // English endings, or letters, digits, other signs with one space before them, or white space
  kGpt2Digits,  // each digit alone first, then as kGpt2 between them: SmolLM, StarCoder
};

/// The pieces of a text, in order; joined they are the text. A run of white space leaves its last character to the word
/// that follows. Letters and digits are Unicode's categories L and N, of the ICU that is there.
///
/// text     well-formed UTF-8
/// source   openai/gpt-2, src/encoder.py: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::vector<std::string_view> pre_tokenize(std::string_view text, PreTokenizer rule);

}  // namespace lexel
