#include "apps/spool.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "kernels/check.h"

namespace lexel::cli {
namespace {

/// errno is read when `done` is known: beside the call, as another argument of check(), it could be read first.
void check_io(bool done, const std::string& what) {
  check(done, ErrorKind::kIo, what, ": ", std::strerror(errno));
}

void copy(std::FILE* from, std::FILE* to, const char* what) {
  char block[1 << 16];
  size_t n = 0;
  while ((n = std::fread(block, 1, sizeof block, from)) > 0) {
    check_io(std::fwrite(block, 1, n, to) == n, what);
  }
  check_io(std::ferror(from) == 0 && std::fflush(to) == 0, what);
}

}  // namespace

Spool::Spool() {
  std::string name = (std::filesystem::temp_directory_path() / "lexel-XXXXXX").string();
  const int descriptor = mkstemp(name.data());
  check_io(descriptor >= 0, name);
  close(descriptor);
  path_ = name;
}

Spool::~Spool() { std::remove(path_.c_str()); }

void Spool::fill_from_stdin() {
  std::FILE* file = std::fopen(path_.c_str(), "wb");
  check_io(file != nullptr, path_);
  copy(stdin, file, "standard input");
  check_io(std::fclose(file) == 0, path_);
}

void Spool::empty_to_stdout() const {
  std::FILE* file = std::fopen(path_.c_str(), "rb");
  check_io(file != nullptr, path_);
  copy(file, stdout, "standard output");
  std::fclose(file);
}

void write_stdout(const std::string& text) {
  check_io(
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0,
      "standard output");
}

}  // namespace lexel::cli
