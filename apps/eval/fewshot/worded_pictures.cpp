#include "apps/eval/fewshot/worded_pictures.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::cli {
namespace {

using nlohmann::json;

constexpr int64_t kMaxBytes = int64_t{1} << 28;

std::vector<std::string> words_of(const json& line, const char* key, int64_t most,
                                  const std::string& where) {
  std::vector<std::string> words;
  const auto found = line.find(key);
  if (found == line.end()) return words;
  check(found->is_array(), ErrorKind::kBadData, where, key, " is no list");
  for (const json& word : *found) {
    check(word.is_string() && !word.get_ref<const std::string&>().empty() &&
              word.get_ref<const std::string&>().find_first_of("\r\n") == std::string::npos,
          ErrorKind::kBadData, where, key, " holds something that is no word");
    if (static_cast<int64_t>(words.size()) < most) words.push_back(word.get<std::string>());
  }
  return words;
}

}  // namespace

std::vector<WordedPicture> read_worded_pictures(const std::string& path, int64_t most) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxBytes);
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<WordedPicture> pictures;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view text = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = concat(path, ":", number, ": ");
    const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
    check(line.is_object(), ErrorKind::kBadData, where, "not a JSON object");
    const auto text_of = [&](const char* key) {
      check(line.contains(key) && line[key].is_string() && !line[key].empty() &&
                !line[key].get_ref<const std::string&>().empty() &&
                line[key].get_ref<const std::string&>().find_first_of("\r\n") == std::string::npos,
            ErrorKind::kBadData, where, key, " is missing or no text");
      return line[key].get<std::string>();
    };
    WordedPicture picture{text_of("picture"), text_of("concept"),
                          words_of(line, "words", most, where),
                          words_of(line, "caption_words", most, where)};
    check(!picture.words.empty(), ErrorKind::kBadData, where, "words is missing or empty");
    pictures.push_back(std::move(picture));
  }
  return pictures;
}

}  // namespace lexel::cli
