#include "apps/data/captions.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <filesystem>
#include <set>
#include <sstream>
#include <vector>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxTextBytes = 1LL << 26;

std::string read_text(const std::string& path) {
  const std::vector<uint8_t> data = read_file(path, kMaxTextBytes);
  return {data.begin(), data.end()};
}

void append_utf8(uint32_t code, std::string& text) {
  const auto add = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | code >> 6), add(0x80 | (code & 63));
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12), add(0x80 | (code >> 6 & 63)), add(0x80 | (code & 63));
  } else {
    add(0xF0 | code >> 18), add(0x80 | (code >> 12 & 63)), add(0x80 | (code >> 6 & 63)),
        add(0x80 | (code & 63));
  }
}

void erase_all(const std::string& what, std::string& text) {
  for (size_t at; (at = text.find(what)) != std::string::npos;) text.erase(at, what.size());
}

std::string without_selector(std::string text) {
  erase_all("\xEF\xB8\x8F", text);  // U+FE0F
  return text;
}

// The five entities of XML, and white space to single blanks.
std::string plain_text(std::string text) {
  static const std::pair<std::string, std::string> kEntities[] = {
      {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}, {"&amp;", "&"}};
  for (const auto& [entity, sign] : kEntities) {
    for (size_t at = 0; (at = text.find(entity, at)) != std::string::npos; at += sign.size()) {
      text.replace(at, entity.size(), sign);
    }
  }
  std::istringstream words(text);
  std::string result;
  for (std::string word; words >> word;) result += (result.empty() ? "" : " ") + word;
  return result;
}

// What stands between <name ...> and </name>, from `at` on; moves `at` past it. Not a parser of XML: enough for the
// metadata of files that one program wrote.
bool next_element(const std::string& xml, const std::string& name, size_t end, size_t& at,
                  std::string& content) {
  const size_t open = xml.find("<" + name, at);
  if (open == std::string::npos || open >= end) return false;
  const size_t start = xml.find('>', open);
  const size_t close = xml.find("</" + name + ">", start == std::string::npos ? open : start);
  if (start == std::string::npos || close == std::string::npos || close > end) return false;
  content = xml.substr(start + 1, close - start - 1);
  at = close;
  return true;
}

// Letters in lower case, everything else as single blanks: "Juice Box (B)" gives "juice box b".
std::string lower_words(const std::string& text) {
  std::string result;
  for (const char sign : text) {
    const unsigned char c = static_cast<unsigned char>(sign);
    if (std::isalpha(c) || c >= 0x80) {
      result += static_cast<char>(c >= 0x80 ? c : std::tolower(c));
    } else if (!result.empty() && result.back() != ' ') {
      result += ' ';
    }
  }
  if (!result.empty() && result.back() == ' ') result.pop_back();
  return result;
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// Enough to see that a title's "cat" and the keyword "cats" are one word.
std::string singular(const std::string& word) {
  const bool plural = word.size() > 3 && word.ends_with("s") && !word.ends_with("ss");
  return plural ? word.substr(0, word.size() - 1) : word;
}

// Keywords of Openclipart that say how the library or a program filed a picture, not what it shows: a Perl hash printed
// by mistake ("hash(0x897d730)", in 1,553 pictures), the menu of an editor, folders of icon themes.
bool is_pseudo_keyword(const std::string& keyword, const std::string& words) {
  static const std::set<std::string> kNoise{
      "hash",  "menu",        "unsorted",         "icon",    "icons",
      "theme", "application", "action",           "symbols", "clip art",
      "svg",   "png",         "signs and symbols"};
  return keyword.starts_with("hash") || keyword.ends_with("_icon") || kNoise.contains(words);
}

// Calls visit(emoji, text) for each annotation of a type: "tts" are names, "" are keywords.
template <class Visit>
void read_annotations(const std::string& root, const std::string& type, const Visit& visit) {
  const std::string start = "<annotation cp=\"",
                    middle = type.empty() ? "\">" : "\" type=\"" + type + "\">";
  for (const char* folder : {"annotations", "annotationsDerived"}) {
    const std::string xml =
        read_text(root + "/usr/share/unicode/cldr/common/" + folder + "/en.xml");
    for (size_t at = 0; (at = xml.find(start, at)) != std::string::npos;) {
      at += start.size();
      const size_t quote = xml.find('"', at), end = xml.find('<', at);
      if (quote == std::string::npos || end == std::string::npos ||
          xml.compare(quote, middle.size(), middle) != 0)
        continue;
      visit(without_selector(plain_text(xml.substr(at, quote - at))),
            plain_text(xml.substr(quote + middle.size(), end - quote - middle.size())));
    }
  }
}

// Lower case, each once, without pseudo keywords.
std::vector<std::string> kept_keywords(const std::vector<std::string>& keywords) {
  std::vector<std::string> kept;
  for (const std::string& keyword : keywords) {
    const std::string text = lower_words(keyword);
    if (text.empty() || is_pseudo_keyword(keyword, text)) continue;
    if (std::ranges::find(kept, text) == kept.end()) kept.push_back(text);
  }
  return kept;
}

struct SvgMetadata {
  std::string title;
  std::vector<std::string> keywords;  // as they stand
};

SvgMetadata svg_metadata(const std::string& svg) {
  SvgMetadata result;
  const size_t end = svg.find("</metadata>"), at = svg.find("<metadata");
  if (end == std::string::npos || at == std::string::npos || at > end) return result;
  size_t from = at;
  std::string title, subject, keyword;
  if (next_element(svg, "dc:title", end, from, title)) title = plain_text(title);
  if (title.find('<') == std::string::npos) result.title = title;
  from = at;
  if (next_element(svg, "dc:subject", end, from, subject)) {
    for (size_t i = 0; next_element(subject, "rdf:li", subject.size(), i, keyword);) {
      keyword = plain_text(keyword);
      if (keyword.find('<') == std::string::npos) result.keywords.push_back(keyword);
    }
  }
  return result;
}

}  // namespace

std::string words_of_file_name(const std::string& path) {
  std::vector<std::string> words(1);
  for (const char sign : fs::path(path).stem().string()) {
    const unsigned char c = static_cast<unsigned char>(sign);
    if (std::isalpha(c) || c >= 0x80) {
      words.back() += static_cast<char>(std::tolower(c));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  std::erase(words, "");
  if (words.size() > 1 && words.back().size() == 1) words.pop_back();
  std::string result;
  for (const std::string& word : words) result += (result.empty() ? "" : " ") + word;
  return result;
}

std::string first_word(const std::string& path) {
  const std::string words = words_of_file_name(path);
  return words.empty() ? fs::path(path).stem().string() : words.substr(0, words.find(' '));
}

std::string utf8(char32_t code_point) {
  std::string text;
  append_utf8(code_point, text);
  return text;
}

std::string emoji_of_file_name(const std::string& path) {
  std::string stem = fs::path(path).stem().string(), result;
  erase_all("emoji_u", stem);
  if (stem.size() == 2 && std::isupper(static_cast<unsigned char>(stem[0])) &&
      std::isupper(static_cast<unsigned char>(stem[1]))) {
    for (const char letter : stem)
      append_utf8(0x1F1E6 + static_cast<uint32_t>(letter - 'A'), result);
    return result;
  }
  std::ranges::replace(stem, '_', ' ');
  std::ranges::replace(stem, '-', ' ');
  std::istringstream codes(stem);
  uint32_t code = 0;
  while (codes >> std::hex >> code) {
    if (code > 0x10FFFF) return "";
    append_utf8(code, result);
  }
  return codes.eof() ? without_selector(result) : "";
}

std::map<std::string, std::string> read_emoji_names(const std::string& root) {
  std::map<std::string, std::string> names;
  read_annotations(root, "tts",
                   [&](const std::string& emoji, const std::string& text) { names[emoji] = text; });
  return names;
}

std::map<std::string, std::vector<std::string>> read_emoji_keywords(const std::string& root) {
  std::map<std::string, std::vector<std::string>> keywords;
  read_annotations(root, "", [&](const std::string& emoji, const std::string& text) {
    std::istringstream parts(text);  // "face | grin | grinning face"
    for (std::string part; std::getline(parts, part, '|');) {
      const std::string words = lower_words(part);
      std::vector<std::string>& known = keywords[emoji];
      if (!words.empty() && std::ranges::find(known, words) == known.end()) known.push_back(words);
    }
  });
  return keywords;
}

std::string openclipart_caption(const std::string& title,
                                const std::vector<std::string>& keywords) {
  const std::vector<std::string> kept = kept_keywords(keywords);
  std::set<std::string> confirming;
  for (const std::string& text : kept)
    for (const std::string& word : words_of(text)) confirming.insert(singular(word));
  std::string caption;
  for (const std::string& word : words_of(lower_words(title)))
    if (confirming.contains(singular(word))) caption += (caption.empty() ? "" : " ") + word;
  if (!caption.empty()) return caption;
  for (const std::string& keyword : kept) caption += (caption.empty() ? "" : ", ") + keyword;
  return caption;
}

std::string svg_caption(const std::string& svg) {
  const SvgMetadata metadata = svg_metadata(svg);
  return openclipart_caption(metadata.title, metadata.keywords);
}

std::vector<std::string> svg_keywords(const std::string& svg) {
  return kept_keywords(svg_metadata(svg).keywords);
}

std::string sidecar_caption(const std::string& path) {
  if (!fs::exists(path)) return "";
  const std::string text = read_text(path);
  return plain_text(text.substr(0, text.find('\n')));
}

}  // namespace lexel::data
