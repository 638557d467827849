#pragma once

#include <map>
#include <string>
#include <vector>

#include "apps/data/sets.h"

namespace lexel::data {

/// "Polar-bear_02.png" gives "polar bear": words in lower case, numbers and single trailing letters dropped.
std::string words_of_file_name(const std::string& path);

/// The first word of words_of_file_name; the whole name when it has no word.
std::string first_word(const std::string& path);

/// One code point as UTF-8.
std::string utf8(char32_t code_point);

/// The code points in an emoji's file name ("emoji_u1f470_1f3fb.png", "1F470-1F3FB.png", flags "AC.png"), UTF-8,
/// without variation selectors; empty when it names none.
std::string emoji_of_file_name(const std::string& path);

/// Emoji (UTF-8, without variation selectors) to English name, from CLDR's annotation files below `root`.
std::map<std::string, std::string> read_emoji_names(const std::string& root);

/// Emoji to what CLDR finds it by: "cat", "face", "pet". In lower case; keys as above.
std::map<std::string, std::vector<std::string>> read_emoji_keywords(const std::string& root);

/// What an Openclipart picture shows, in lower case: the words of its title that a keyword confirms (titles also
/// hold artists' names, numbers and "Part of the ... Collection"); where none is, the keywords, "food, juice".
/// Keywords that only say how the picture was filed are dropped. May be empty.
std::string openclipart_caption(const std::string& title, const std::vector<std::string>& keywords);

/// openclipart_caption of the metadata in an SVG file. Empty when it has neither title nor keywords.
std::string svg_caption(const std::string& svg);

/// The keywords in an SVG file's metadata, in lower case, each once, without those that only say how it was filed.
std::vector<std::string> svg_keywords(const std::string& svg);

/// First line of a text file, without a comment's "="; empty when there is no such file.
std::string sidecar_caption(const std::string& path);

}  // namespace lexel::data
