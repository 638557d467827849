#include "apps/eval/generator/prompts.h"

#include <string_view>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/sha256.h"
#include "tokenizers/utf8.h"

namespace lexel::eval {
namespace {

constexpr int64_t kMaxBytes = int64_t{64} << 20;
constexpr std::string_view kHeader = "Prompt\tCategory\tChallenge\tNote";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::vector<std::string> fields_of(std::string_view line) {
  std::vector<std::string> fields(1);
  for (const char c : line) {
    if (c == '\t') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

/// What is wrong with a line; empty: nothing.
std::string problem_of(std::string_view line, const std::vector<std::string>& fields) {
  if (first_invalid_utf8(line)) return "not UTF-8";
  if (fields.size() != 4) return concat("expected 4 fields between tabs, got ", fields.size());
  if (fields[0].empty()) return "no prompt";
  if (fields[1].empty()) return "no category";
  return "";
}

}  // namespace

PromptFile read_prompts(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, kMaxBytes);
  const std::string content(bytes.begin(), bytes.end());
  PromptFile file;
  file.hash = sha256(content.data(), content.size());
  std::string_view rest = content;
  if (rest.starts_with(kByteOrderMark)) rest.remove_prefix(kByteOrderMark.size());
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (number == 1) {
      check(line == kHeader, ErrorKind::kBadData, path,
            ":1: expected the columns Prompt, Category, Challenge, Note between tabs");
      continue;
    }
    if (line.empty()) continue;
    const std::vector<std::string> fields = fields_of(line);
    const std::string problem = problem_of(line, fields);
    if (problem.empty()) {
      file.prompts.push_back({fields[0], fields[1], fields[2], fields[3]});
    } else {
      file.problems.push_back(concat(path, ":", number, ": ", problem));
    }
  }
  check(!file.prompts.empty(), ErrorKind::kBadData, path, ": has no prompts");
  return file;
}

}  // namespace lexel::eval
