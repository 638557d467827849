#include "tokenizers/pre_tokenizer.h"

#include <algorithm>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace lexel {
namespace {

enum class Kind { kLetter, kDigit, kSpace, kOther };

Kind kind_of(UChar32 character) {
  const uint32_t category = U_GET_GC_MASK(character);
  if (category & U_GC_L_MASK) return Kind::kLetter;
  if (category & U_GC_N_MASK) return Kind::kDigit;
  return u_isUWhiteSpace(character) ? Kind::kSpace : Kind::kOther;
}

struct Character {
  size_t begin;  // byte in the text
  Kind kind;
};

std::vector<Character> characters_of(std::string_view text) {
  std::vector<Character> characters;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    UChar32 character = 0;
    U8_NEXT(text.data(), i, text.size(), character);
    characters.push_back({begin, kind_of(character)});
  }
  return characters;
}

// The length in bytes of an English ending that the text starts with, or 0.
size_t ending_length(std::string_view text) {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (text.starts_with(ending)) return ending.size();
  }
  return 0;
}

// The character after the piece that starts at `first`, by the alternatives of the rule in their order; the text ends,
// as the rule sees it, at `last`.
size_t piece_end(std::string_view text, const std::vector<Character>& all, size_t first,
                 size_t last) {
  // An ending is as many characters as bytes; cut off by `last` it is none.
  const size_t ending = ending_length(text.substr(all[first].begin));
  if (ending > 0 && first + ending <= last) return first + ending;

  const auto run_end = [&](size_t from) {  // of characters of the kind at `from`
    size_t end = from;
    while (end < last && all[end].kind == all[from].kind) ++end;
    return end;
  };
  if (all[first].kind != Kind::kSpace) return run_end(first);
  const bool joins =
      text[all[first].begin] == ' ' && first + 1 < last && all[first + 1].kind != Kind::kSpace;
  if (joins) return run_end(first + 1);
  const size_t end = run_end(first);
  return end == last || end == first + 1 ? end : end - 1;
}

}  // namespace

std::vector<std::string_view> pre_tokenize(std::string_view text, PreTokenizer rule) {
  const std::vector<Character> characters = characters_of(text);
  const size_t count = characters.size();
  const auto begin_of = [&](size_t i) { return i < count ? characters[i].begin : text.size(); };
  std::vector<std::string_view> pieces;
  const auto add = [&](size_t first, size_t end) {
    pieces.push_back(text.substr(begin_of(first), begin_of(end) - begin_of(first)));
  };
  for (size_t first = 0; first < count;) {
    const bool alone = rule == PreTokenizer::kGpt2Digits && characters[first].kind == Kind::kDigit;
    if (alone) {
      add(first, first + 1);
      ++first;
      continue;
    }
    size_t last = count;
    if (rule == PreTokenizer::kGpt2Digits) {
      const auto digit =
          std::find_if(characters.begin() + static_cast<std::ptrdiff_t>(first), characters.end(),
                       [](const Character& c) { return c.kind == Kind::kDigit; });
      last = static_cast<size_t>(digit - characters.begin());
    }
    while (first < last) {
      const size_t end = piece_end(text, characters, first, last);
      add(first, end);
      first = end;
    }
  }
  return pieces;
}

}  // namespace lexel
