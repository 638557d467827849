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

void copy(std::FILE* from, std::FILE* to, const char* what) {
  char block[1 << 16];
  size_t n = 0;
  while ((n = std::fread(block, 1, sizeof block, from)) > 0) {
    check(std::fwrite(block, 1, n, to) == n, ErrorKind::kIo, what, ": ", std::strerror(errno));
  }
  check(std::ferror(from) == 0 && std::fflush(to) == 0, ErrorKind::kIo, what, ": ",
        std::strerror(errno));
}

}  // namespace

Spool::Spool() {
  std::string name = (std::filesystem::temp_directory_path() / "lexel-XXXXXX").string();
  const int descriptor = mkstemp(name.data());
  check(descriptor >= 0, ErrorKind::kIo, name, ": ", std::strerror(errno));
  close(descriptor);
  path_ = name;
}

Spool::~Spool() { std::remove(path_.c_str()); }

void Spool::fill_from_stdin() {
  std::FILE* file = std::fopen(path_.c_str(), "wb");
  check(file != nullptr, ErrorKind::kIo, path_, ": ", std::strerror(errno));
  copy(stdin, file, "standard input");
  check(std::fclose(file) == 0, ErrorKind::kIo, path_, ": ", std::strerror(errno));
}

void Spool::empty_to_stdout() const {
  std::FILE* file = std::fopen(path_.c_str(), "rb");
  check(file != nullptr, ErrorKind::kIo, path_, ": ", std::strerror(errno));
  copy(file, stdout, "standard output");
  std::fclose(file);
}

void write_stdout(const std::string& text) {
  check(std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0,
        ErrorKind::kIo, "standard output: ", std::strerror(errno));
}

}  // namespace lexel::cli
