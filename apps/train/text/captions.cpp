#include "apps/train/text/captions.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::train {

namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

/// Adds the caption of one JSON object, if it has one. `where` names it: "a.jsonl:3".
void add_caption(std::string_view text, const std::string& where, std::vector<std::string>& out) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  check(json.is_object(), ErrorKind::kBadData, where, ": not a JSON object");
  const auto caption = json.find("caption");
  if (caption == json.end() || caption->is_null()) return;
  check(caption->is_string(), ErrorKind::kBadData, where, ": \"caption\" is not a text");
  if (!caption->get_ref<const std::string&>().empty()) out.push_back(*caption);
}

template <class Add>
void for_each_line(const std::string& path, Add&& add) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxFileBytes);
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty()) add(line, number);
  }
}

}  // namespace

std::vector<std::string> read_captions(const std::vector<std::string>& inputs) {
  std::vector<std::string> out;
  for (const std::string& path : inputs) {
    const std::string extension = std::filesystem::path(path).extension().string();
    if (extension == ".txt") {
      for_each_line(path, [&](std::string_view line, int64_t) { out.emplace_back(line); });
    } else if (extension == ".jsonl") {
      for_each_line(path, [&](std::string_view line, int64_t number) {
        add_caption(line, concat(path, ":", number), out);
      });
    } else if (extension == ".tar") {
      PictureSource source({path});
      for (PictureBytes sample; source.next(sample);)
        if (!sample.json.empty()) add_caption(sample.json, path + ": " + sample.name, out);
    } else {
      fail(ErrorKind::kUsage, path, ": expected captions in a .txt, .jsonl or .tar file");
    }
  }
  check(!out.empty(), ErrorKind::kUsage, "there is no caption in ", inputs.size(),
        " file(s), the first of which is ", inputs.empty() ? "none" : inputs.front());
  return out;
}

}  // namespace lexel::train
