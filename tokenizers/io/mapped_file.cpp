#include "tokenizers/io/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "kernels/check.h"

namespace lexel {

MappedFile map_file(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  check(descriptor >= 0, ErrorKind::kIo, path, ": ", std::strerror(errno));
  const std::shared_ptr<const int> closer(&descriptor, [](const int* d) { ::close(*d); });
  struct stat status = {};
  const bool known = ::fstat(descriptor, &status) == 0;
  check(known, ErrorKind::kIo, path, ": ", std::strerror(errno));
  check(S_ISREG(status.st_mode), ErrorKind::kIo, path, ": not a regular file");
  const auto bytes = static_cast<uint64_t>(status.st_size);
  if (bytes == 0) return {path, nullptr, 0};  // mmap refuses it
  void* const start = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
  check(start != MAP_FAILED, ErrorKind::kIo, path, ": ", std::strerror(errno));
  const auto unmap = [bytes](const uint8_t* p) { ::munmap(const_cast<uint8_t*>(p), bytes); };
  return {path, {static_cast<const uint8_t*>(start), unmap}, bytes};
}

MappedFile in_memory(std::vector<uint8_t> content, const std::string& name) {
  const auto owner = std::make_shared<const std::vector<uint8_t>>(std::move(content));
  return {name, {owner, owner->data()}, owner->size()};
}

}  // namespace lexel
