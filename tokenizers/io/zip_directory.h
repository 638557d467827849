#pragma once

// Private to tokenizers/io.

#include <map>
#include <string>

#include "tokenizers/io/mapped_file.h"

namespace lexel {

/// One member of a zip file, stored as it is.
struct ZipMember {
  uint64_t begin = 0, end = 0;  // bytes of the file
};

/// The members by name. Every one lies inside the file, apart from the others, uncompressed, and its CRC-32
/// was compared.
///
/// throws   Error(kBadData) when that is not so, or the directory is malformed
std::map<std::string, ZipMember> read_zip_directory(const MappedFile& file);

}  // namespace lexel
