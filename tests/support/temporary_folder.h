#pragma once

#include <filesystem>
#include <stdlib.h>
#include <string>
#include <system_error>

#include "kernels/check.h"

namespace lexel::tests {

/// A new empty folder, removed with all it holds at the end of the scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lexel-test-XXXXXX").string();
    check(::mkdtemp(pattern.data()) != nullptr, ErrorKind::kIo, pattern, ": cannot make a folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace lexel::tests
