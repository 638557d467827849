#include "apps/txt2img/captions.h"

#include <cstdio>
#include <sstream>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/utf8.h"

namespace lexel::cli {
namespace {

constexpr int64_t kMaxBytes = int64_t{64} << 20;
constexpr size_t kMaxSlug = 48;

/// Sorts a caption in: sound, or a line that says why not.
void add(Captions& captions, std::string text, std::string where) {
  const auto number = static_cast<int64_t>(captions.sound.size() + captions.problems.size());
  if (const auto at = first_invalid_utf8(text)) {
    captions.problems.push_back(concat(where, ": not UTF-8 at byte ", *at));
  } else if (text.find('\0') != std::string::npos) {
    captions.problems.push_back(concat(where, ": holds a zero byte"));
  } else {
    captions.sound.push_back({std::move(text), number, std::move(where)});
  }
}

}  // namespace

Captions read_captions(const std::vector<std::string>& given, const std::string& file) {
  Captions captions;
  if (file.empty()) {
    for (size_t i = 0; i < given.size(); ++i)
      add(captions, given[i], given.size() == 1 ? "the caption" : concat("caption ", i + 1));
  } else {
    const std::vector<uint8_t> bytes = read_file(file == "-" ? "/dev/stdin" : file, kMaxBytes);
    std::istringstream lines(std::string(bytes.begin(), bytes.end()));
    const std::string name = file == "-" ? "standard input" : file;
    std::string line;
    for (int64_t number = 1; std::getline(lines, line); ++number) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      add(captions, line, concat(name, ", line ", number));
    }
  }
  check(!captions.sound.empty() || !captions.problems.empty(), ErrorKind::kBadData,
        file.empty() ? "expected a caption" : concat(file, ": holds no caption"));
  return captions;
}

std::string slug(const std::string& caption) {
  std::string name;
  for (const char c : caption) {
    if (name.size() == kMaxSlug) break;
    const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const bool capital = c >= 'A' && c <= 'Z';
    if (letter || capital) {
      name += capital ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "picture" : name;
}

}  // namespace lexel::cli
