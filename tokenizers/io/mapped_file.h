#pragma once

// Private to tokenizers/io.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lexel {

/// The bytes of a file, mapped read-only or held in memory; valid as long as `data` lives.
struct MappedFile {
  std::string name;                     // for messages
  std::shared_ptr<const uint8_t> data;  // null when empty
  uint64_t bytes = 0;
};

/// throws  Error(kIo) cannot be opened, or is no regular file
MappedFile map_file(const std::string& path);

MappedFile in_memory(std::vector<uint8_t> content, const std::string& name);

}  // namespace lexel
