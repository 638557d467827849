#pragma once

#include <string>

namespace lexel::cli {

/// A private temporary file: what comes from stdin or goes to stdout passes through it, so that readers
/// and writers of files need only know paths. Removed at the end.
class Spool {
 public:
  Spool();  // throws Error(kIo) when no temporary file can be made
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  const std::string& path() const { return path_; }
  void fill_from_stdin();        // throws Error(kIo)
  void empty_to_stdout() const;  // throws Error(kIo)

 private:
  std::string path_;
};

/// Writes text to stdout and checks that it arrived. throws Error(kIo)
void write_stdout(const std::string& text);

}  // namespace lexel::cli
