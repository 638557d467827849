#include "tokenizers/io/picture_source.h"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cctype>
#include <deque>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxPictureBytes = 1LL << 29;  // of one encoded picture
constexpr int64_t kMaxJsonBytes = 1LL << 20;
constexpr int64_t kMaxListBytes = 1LL << 28;
constexpr size_t kMaxNameBytes = 1024;
constexpr size_t kMaxPicturesOfKey = 16;

// One thing to read: a file, a tar, or stdin ("-").
struct Item {
  std::string path, name;
};

std::string lower_extension(const std::string& path) {
  std::string extension = fs::path(path).extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

bool is_picture_name(const std::string& path) {
  static constexpr std::string_view kExtensions[] = {".jpg", ".jpeg", ".png", ".webp", ".bmp",
                                                     ".gif", ".pnm",  ".ppm", ".pgm"};
  return std::ranges::find(kExtensions, lower_extension(path)) != std::end(kExtensions);
}

bool is_tar_name(const std::string& path) { return lower_extension(path) == ".tar"; }

void add_folder(const std::string& folder, std::vector<Item>& items) {
  std::error_code error;
  std::vector<Item> found;
  auto at = fs::recursive_directory_iterator(folder, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    const std::string path = at->path().string();
    const bool hidden = at->path().filename().string().starts_with(".");
    if (at->is_directory(error)) {
      if (hidden) at.disable_recursion_pending();
    } else if (!hidden && (is_picture_name(path) || is_tar_name(path))) {
      found.push_back({path, at->path().lexically_relative(folder).string()});
    }
    error.clear();  // of is_directory: a dangling link is reported when its turn comes
  }
  check(!error, ErrorKind::kIo, folder, ": cannot be read: ", error.message());
  std::ranges::sort(found, {}, &Item::name);
  items.insert(items.end(), found.begin(), found.end());
}

// Paths in a list are relative to the list's own folder, so that both can move together.
void add_list(const std::string& list, std::vector<Item>& items) {
  const std::vector<uint8_t> data = read_file(list, kMaxListBytes);
  std::istringstream lines(std::string(data.begin(), data.end()));
  const fs::path folder = fs::path(list).parent_path();
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || line.starts_with('#')) continue;
    items.push_back({(folder / line).string(), line});
  }
}

// Reads one tar, sample by sample: neighbouring members of one key (the path up to the first dot of the file's
// name) belong together.
class TarReader {
 public:
  explicit TarReader(const std::string& path) : path_(path) {
    archive_read_support_format_tar(tar_);
    const int status = archive_read_open_filename(tar_, path.c_str(), 1 << 18);
    if (status != ARCHIVE_OK) {
      const std::string reason = error_text();
      const bool missing = !fs::exists(path);
      archive_read_free(tar_);
      fail(missing ? ErrorKind::kIo : ErrorKind::kBadData, path, ": is not a tar: ", reason);
    }
  }
  ~TarReader() { archive_read_free(tar_); }
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // False at the end. Throws what is wrong with a member; when `done()`, nothing more can be read.
  bool next(PictureBytes& out) {
    while (ready_.empty()) {
      if (error_) throw *std::exchange(error_, std::nullopt);
      if (ended_) return false;
      try {
        read_member();
      } catch (const Error& error) {  // what was complete before it comes first
        finish_key();
        error_ = error;
      }
    }
    out = std::move(ready_.front());
    ready_.pop_front();
    return true;
  }

 private:
  std::string error_text() const {
    const char* text = archive_error_string(tar_);
    return text ? text : "unknown reason";
  }

  void finish_key() {
    for (PictureBytes& picture : pictures_) {
      picture.json = json_;
      ready_.push_back(std::move(picture));
    }
    pictures_.clear();
    json_.clear();
    key_.clear();
  }

  [[noreturn]] void end_with(const std::string& reason) {
    ended_ = true;
    fail(ErrorKind::kBadData, path_, ": ", reason);
  }

  void read_member() {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(tar_, &entry);
    if (status == ARCHIVE_EOF) {
      ended_ = true;
      finish_key();
      return;
    }
    if (status < ARCHIVE_WARN) end_with("is not a sound tar, or truncated: " + error_text());
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) return;
    const char* pathname = archive_entry_pathname(entry);
    std::string name = pathname ? pathname : "";
    while (name.starts_with("./")) name.erase(0, 2);
    check_name(name);
    const size_t slash = name.rfind('/');
    const size_t start = slash == std::string::npos ? 0 : slash + 1;
    if (name[start] == '.') return;  // hidden
    const std::string key = name.substr(0, name.find('.', start));
    if (key != key_) finish_key();
    key_ = key;
    if (is_picture_name(name)) {
      check(pictures_.size() < kMaxPicturesOfKey, ErrorKind::kBadData, path_, ": ", name,
            ": more than ", kMaxPicturesOfKey, " pictures of one key");
      std::vector<uint8_t> data = read_data(name, archive_entry_size(entry), kMaxPictureBytes);
      pictures_.push_back({name, path_, std::move(data), ""});
    } else if (lower_extension(name) == ".json") {
      const std::vector<uint8_t> data = read_data(name, archive_entry_size(entry), kMaxJsonBytes);
      json_.assign(data.begin(), data.end());
    }
  }

  // A name becomes part of messages and, in tok2img, of paths.
  void check_name(const std::string& name) const {
    const auto part_leaves = [](const fs::path& part) { return part == ".."; };
    const bool printable =
        std::ranges::none_of(name, [](unsigned char c) { return c < 32 || c == 127; });
    const fs::path path(name);
    check(!name.empty() && !name.ends_with('/') && name.size() <= kMaxNameBytes && printable &&
              path.is_relative() && std::none_of(path.begin(), path.end(), part_leaves),
          ErrorKind::kBadData, path_, ": a member has a hostile name");
  }

  // Memory grows with what is really there, whatever the header says.
  std::vector<uint8_t> read_data(const std::string& name, int64_t size, int64_t max_bytes) {
    check(size >= 0 && size <= max_bytes, ErrorKind::kBadData, path_, ": ", name, ": has ", size,
          " bytes, more than the ", max_bytes, " allowed");
    std::vector<uint8_t> data;
    while (static_cast<int64_t>(data.size()) < size) {
      const size_t filled = data.size();
      const size_t chunk =
          std::min<size_t>(static_cast<size_t>(size) - filled, std::max<size_t>(1 << 20, filled));
      data.resize(filled + chunk);
      const la_ssize_t count = archive_read_data(tar_, data.data() + filled, chunk);
      if (count <= 0) end_with(name + ": is truncated");
      data.resize(filled + static_cast<size_t>(count));
    }
    return data;
  }

  std::string path_;
  archive* tar_ = archive_read_new();
  std::string key_, json_;
  std::vector<PictureBytes> pictures_;  // of key_
  std::deque<PictureBytes> ready_;
  std::optional<Error> error_;
  bool ended_ = false;
};

}  // namespace

struct PictureSource::State {
  std::vector<Item> items;
  size_t at = 0;
  std::unique_ptr<TarReader> tar;  // of items[at - 1]
  bool has_tars = false;
};

PictureSource::PictureSource(const std::vector<std::string>& inputs)
    : state_(std::make_unique<State>()) {
  check(!inputs.empty(), ErrorKind::kUsage, "expected at least one picture, folder, tar or list");
  std::vector<Item>& items = state_->items;
  for (const std::string& input : inputs) {
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (input == "-") {
      items.push_back({"-", "stdin"});
      continue;
    }
    check(fs::exists(status), ErrorKind::kIo, input,
          ": cannot be read: ", error ? error.message() : "No such file or directory");
    if (fs::is_directory(status)) {
      add_folder(input, items);
    } else if (lower_extension(input) == ".txt") {
      add_list(input, items);
    } else {
      items.push_back({input, input});
    }
  }
  state_->has_tars =
      std::ranges::any_of(items, [](const Item& item) { return is_tar_name(item.path); });
}

PictureSource::~PictureSource() = default;

bool PictureSource::next(PictureBytes& out) {
  for (;;) {
    if (state_->tar) {
      if (state_->tar->next(out)) return true;
      state_->tar.reset();
    }
    if (state_->at == state_->items.size()) return false;
    const Item& item = state_->items[state_->at++];
    if (is_tar_name(item.path)) {
      state_->tar = std::make_unique<TarReader>(item.path);
      continue;
    }
    out = {item.name, item.path, {}, ""};
    out.data = read_file(item.path == "-" ? "/dev/stdin" : item.path, kMaxPictureBytes);
    return true;
  }
}

int64_t PictureSource::size_hint() const {
  return state_->has_tars ? -1 : static_cast<int64_t>(state_->items.size());
}

}  // namespace lexel
