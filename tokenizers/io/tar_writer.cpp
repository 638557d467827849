#include <archive.h>
#include <archive_entry.h>
#include <exception>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/picture_source.h"

namespace lexel {

struct TarWriter::State {
  explicit State(const std::string& to) : path(to), file(to) {}
  ~State() { archive_write_free(tar); }

  // libarchive is C: what the file throws is kept until the call has returned.
  static la_ssize_t write(archive*, void* data, const void* buffer, size_t bytes) {
    auto* self = static_cast<State*>(data);
    if (self->thrown) return -1;
    try {
      self->file.write(buffer, bytes);
      return static_cast<la_ssize_t>(bytes);
    } catch (...) {
      self->thrown = std::current_exception();
      return -1;
    }
  }

  void check_status(long long status) const {
    if (thrown) std::rethrow_exception(thrown);
    const char* reason = archive_error_string(tar);
    check(status >= 0, ErrorKind::kIo, path,
          ": cannot be written: ", reason ? reason : "unknown reason");
  }

  std::string path;
  AtomicFile file;
  archive* tar = archive_write_new();
  std::exception_ptr thrown;
};

TarWriter::TarWriter(const std::string& path) : state_(std::make_unique<State>(path)) {
  archive_write_set_format_pax_restricted(state_->tar);  // plain ustar while names are short
  archive_write_set_bytes_in_last_block(state_->tar, 1);
  state_->check_status(
      archive_write_open(state_->tar, state_.get(), nullptr, State::write, nullptr));
}

TarWriter::~TarWriter() = default;

void TarWriter::add(const std::string& member, const uint8_t* data, size_t bytes) {
  check(state_->tar != nullptr, ErrorKind::kInternal, state_->path, ": written to after close");
  const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                            &archive_entry_free);
  // No owner, no time: the same members make the same file.
  archive_entry_set_pathname_utf8(entry.get(), member.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(bytes));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), 0, 0);
  state_->check_status(archive_write_header(state_->tar, entry.get()));
  if (bytes > 0) state_->check_status(archive_write_data(state_->tar, data, bytes));
}

void TarWriter::close() {
  check(state_->tar != nullptr, ErrorKind::kInternal, state_->path, ": closed twice");
  state_->check_status(archive_write_close(state_->tar));
  archive_write_free(state_->tar);
  state_->tar = nullptr;
  state_->file.commit();
}

}  // namespace lexel
