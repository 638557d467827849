#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel {

/// A file that appears whole or not at all: written beside its path under a temporary name, flushed and
/// checked, then renamed. A run that is killed leaves the old file (or none), never half of a new one.
class AtomicFile {
 public:
  /// throws  Error(kIo) when the folder is missing or not writable
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();  // not committed: the temporary file is removed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data,
             size_t bytes);  // throws Error(kIo) with the system's reason (disk full, ...)
  void commit();             // fsync, close, rename
  const std::string& temporary_path() const { return temporary_; }

 private:
  std::string path_, temporary_;
  int descriptor_ = -1;
};

void write_file(const std::string& path, const std::string& content);  // atomically
/// Whole file; throws Error(kIo). `max_bytes` is checked before memory is taken: Error(kBadData) beyond.
std::vector<uint8_t> read_file(const std::string& path, int64_t max_bytes);

}  // namespace lexel
