#include "tokenizers/io/atomic_file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/check.h"

namespace lexel {
namespace {

std::string reason(int error) { return std::strerror(error); }

// A link keeps pointing where it points: the file behind it is replaced.
std::string behind_links(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                         &std::free);
  return real ? std::string(real.get()) : path;
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  check(!path.empty(), ErrorKind::kIo, "cannot write a file without a name");
  struct stat old = {};
  const bool exists = ::stat(path.c_str(), &old) == 0;
  check(!exists || !S_ISDIR(old.st_mode), ErrorKind::kIo, path, ": is a folder");
  if (exists && !S_ISREG(old.st_mode)) {  // a device or pipe is written to, never replaced
    descriptor_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    check(descriptor_ >= 0, ErrorKind::kIo, path, ": cannot be written: ", reason(errno));
    return;
  }
  if (exists) path_ = behind_links(path);
  static std::atomic<unsigned> counter{0};
  temporary_ = concat(path_, ".", getpid(), "-", counter++, ".tmp");
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  check(descriptor_ >= 0, ErrorKind::kIo, path, ": cannot be written: ", reason(errno));
  if (exists) (void)::fchmod(descriptor_, old.st_mode & 07777);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  check(descriptor_ >= 0, ErrorKind::kInternal, path_, ": written to after commit");
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, from, std::min<size_t>(bytes, 1 << 30));
    if (written < 0 && errno == EINTR) continue;
    check(written > 0, ErrorKind::kIo, path_, ": cannot be written: ", reason(errno));
    from += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  check(descriptor_ >= 0, ErrorKind::kInternal, path_, ": committed twice");
  // Pipes and devices have nothing to synchronise: EINVAL.
  int error = ::fsync(descriptor_) == 0 || errno == EINVAL ? 0 : errno;
  if (::close(descriptor_) != 0 && error == 0) error = errno;
  descriptor_ = -1;
  if (temporary_.empty()) {
    check(error == 0, ErrorKind::kIo, path_, ": cannot be written: ", reason(error));
    return;
  }
  if (error == 0 && ::rename(temporary_.c_str(), path_.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary_.c_str());
    fail(ErrorKind::kIo, path_, ": cannot be written: ", reason(error));
  }
}

void write_file(const std::string& path, const std::string& content) {
  AtomicFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

std::vector<uint8_t> read_file(const std::string& path, int64_t max_bytes) {
  struct Descriptor {
    int value;
    ~Descriptor() {
      if (value >= 0) ::close(value);
    }
  } const file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  check(file.value >= 0, ErrorKind::kIo, path, ": cannot be read: ", reason(errno));
  struct stat status = {};
  const bool known = ::fstat(file.value, &status) == 0;
  check(known, ErrorKind::kIo, path, ": cannot be read: ", reason(errno));
  check(!S_ISDIR(status.st_mode), ErrorKind::kIo, path, ": is a folder");
  check(status.st_size <= max_bytes, ErrorKind::kBadData, path, ": has ", status.st_size,
        " bytes, more than the ", max_bytes, " allowed");

  // Pipes have no size, and a file may grow: read to the end, up to the limit.
  std::vector<uint8_t> content(static_cast<size_t>(status.st_size));
  size_t filled = 0;
  for (;;) {
    if (filled == content.size()) {
      uint8_t one_more = 0;
      const ssize_t count = ::read(file.value, &one_more, 1);
      if (count < 0 && errno == EINTR) continue;
      check(count >= 0, ErrorKind::kIo, path, ": cannot be read: ", reason(errno));
      if (count == 0) return content;
      check(static_cast<int64_t>(filled) < max_bytes, ErrorKind::kBadData, path,
            ": has more than the ", max_bytes, " bytes allowed");
      const int64_t grown = std::max<int64_t>(1 << 16, static_cast<int64_t>(2 * filled));
      content.resize(static_cast<size_t>(std::min<int64_t>(grown, max_bytes)));
      content[filled++] = one_more;
    }
    const ssize_t count = ::read(file.value, content.data() + filled, content.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    check(count >= 0, ErrorKind::kIo, path, ": cannot be read: ", reason(errno));
    if (count == 0) break;
    filled += static_cast<size_t>(count);
  }
  content.resize(filled);
  return content;
}

}  // namespace lexel
