#include "apps/output_names.h"

#include <filesystem>
#include <set>

#include "kernels/check.h"

namespace lexel::cli {
namespace {

std::string safe_stem(const std::string& name) {
  std::filesystem::path safe;
  for (const auto& part : std::filesystem::path(name)) {
    if (part == "." || part == ".." || part == "/" || part.empty()) continue;
    safe /= part;
  }
  std::string text = safe.replace_extension().string();
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '_';
  }
  return text.empty() ? "picture" : text;
}

}  // namespace

std::vector<std::string> output_names(const std::vector<std::string>& names,
                                      const std::string& extension) {
  std::vector<std::string> out;
  std::set<std::string> taken;
  for (const std::string& name : names) {
    const std::string stem = safe_stem(name);
    std::string candidate = stem;
    for (int number = 2; !taken.insert(candidate).second; ++number) {
      candidate = concat(stem, "-", number);
    }
    out.push_back(concat(candidate, ".", extension));
  }
  return out;
}

}  // namespace lexel::cli
