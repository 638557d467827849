#include "apps/data/picture_words.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace lexel::data {
namespace {

using Rows = std::vector<int64_t>;

// Words that tell nothing of a picture: articles and the like, and how clip art is filed.
const std::set<std::string>& empty_words() {
  static const std::set<std::string> words{
      "about", "after", "all",   "and",   "are",     "art",   "button", "clip", "color",   "for",
      "from",  "has",   "his",   "her",   "icon",    "image", "into",   "its",  "like",    "misc",
      "not",   "one",   "other", "our",   "outline", "over",  "part",   "set",  "simple",  "symbol",
      "some",  "that",  "the",   "their", "these",   "this",  "two",    "type", "various", "very",
      "was",   "were",  "which", "with",  "who",     "you",   "your"};
  return words;
}

// Folders between these and the file name say what a picture shows: animals/birds.
constexpr const char* kShelves[] = {"/openclipart/png/", "/tuxpaint/stamps/", "/art4apps/",
                                    "/Media/Costumes/"};
// Where captions are mostly names of programs and buttons.
constexpr const char* kProgramIcons = "/openclipart/png/computer/icons/";
constexpr double kProgramIconWeight = 0.35;

// The words of letters in it, in lower case; "Sunflower-2" gives "sunflower".
std::vector<std::string> letter_words(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalpha(byte) && byte < 0x80) {
      words.back() += static_cast<char>(std::tolower(byte));
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  std::erase_if(words, [](const std::string& word) { return word.size() < 3; });
  return words;
}

// What a plural may be the plural of, likeliest first.
std::vector<std::string> singulars(const std::string& word) {
  static const std::set<std::string> no_plurals{"glass", "lens", "news", "this"};
  std::vector<std::string> forms;
  const size_t size = word.size();
  if (size < 4 || !word.ends_with("s") || word.ends_with("ss") || no_plurals.contains(word))
    return forms;
  if (word.ends_with("ies")) forms.push_back(word.substr(0, size - 3) + "y");
  forms.push_back(word.substr(0, size - 1));
  if (word.ends_with("es")) forms.push_back(word.substr(0, size - 2));
  return forms;
}

bool contains(const Rows& rows, int64_t row) { return std::ranges::find(rows, row) != rows.end(); }

std::string folders_of(const std::string& source) {
  for (const char* shelf : kShelves) {
    const size_t at = source.find(shelf);
    if (at == std::string::npos) continue;
    const size_t begin = at + std::string(shelf).size(), end = source.rfind('/');
    return end == std::string::npos || end <= begin ? "" : source.substr(begin, end - begin);
  }
  return "";
}

/// What a clip art file is called first: "monkey_head_nicu_01.png" gives "monkey". Authors and numbers come last.
std::string first_word_of_file(const std::string& source) {
  const std::vector<std::string> words = letter_words(source.substr(source.rfind('/') + 1));
  return words.empty() ? "" : words.front();
}

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

WordFinder::WordFinder(const WordTableFile& file)
    : words_(file.table.words), stand_ins_(file.stand_ins) {
  for (size_t row = 0; row < words_.size(); ++row) rows_[words_[row]] = static_cast<int64_t>(row);
}

int64_t WordFinder::row_of(const std::string& word) const {
  for (const std::string& form : singulars(word)) {
    const auto found = rows_.find(form);
    if (found != rows_.end()) return found->second;
  }
  const auto found = rows_.find(word);
  return found == rows_.end() ? -1 : found->second;
}

void WordFinder::add(const std::string& text, Rows& rows, Rows& near) const {
  for (const std::string& word : letter_words(text)) {
    if (empty_words().contains(word)) continue;
    const int64_t row = row_of(word);
    if (row >= 0) {
      if (!contains(rows, row)) rows.push_back(row);
      continue;
    }
    std::vector<std::string> forms = singulars(word);
    forms.insert(forms.begin(), word);
    for (const std::string& form : forms) {
      const auto found = stand_ins_.find(form);
      if (found == stand_ins_.end()) continue;
      for (const int64_t other : found->second)
        if (!contains(near, other)) near.push_back(other);
      break;
    }
  }
}

PictureWords WordFinder::words_of(const std::string& json) const {
  const nlohmann::json about = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  check(about.is_object(), ErrorKind::kBadData, "a picture's description is not a JSON object");
  PictureWords result;
  const std::string kind = text_of(about, "kind"), caption = text_of(about, "caption"),
                    source = text_of(about, "source");
  if (kind != "emoji" && kind != "clip art") return result;
  if (caption.find("skin tone") != std::string::npos) return result;
  Rows near, others;
  add(caption, result.names, near);
  if (kind == "clip art") add(first_word_of_file(source), result.names, near);
  if (const auto keywords = about.find("keywords");
      keywords != about.end() && keywords->is_array()) {
    for (const nlohmann::json& keyword : *keywords)
      if (keyword.is_string()) add(keyword.get<std::string>(), others, others);
  }
  add(folders_of(source), others, others);
  // What the caption names in a word of another vocabulary counts as keywords.
  others.insert(others.begin(), near.begin(), near.end());
  for (const int64_t row : others)
    if (!contains(result.names, row) && !contains(result.others, row)) result.others.push_back(row);
  if (source.find(kProgramIcons) != std::string::npos) result.weight = kProgramIconWeight;
  if (result.names.empty()) return result;
  std::set<std::string> sorted;
  for (const int64_t row : result.names) sorted.insert(words_[static_cast<size_t>(row)]);
  for (const std::string& word : sorted)
    result.subject += (result.subject.empty() ? "" : " ") + word;
  result.held_out = is_held_out_subject(result.subject);
  return result;
}

bool is_held_out_subject(const std::string& subject) {
  return Philox(0, "held-out subject", fnv1a(subject)).uniform_int(10) == 0;
}

}  // namespace lexel::data
