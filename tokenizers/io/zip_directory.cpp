#include "tokenizers/io/zip_directory.h"

#include <algorithm>
#include <vector>
#include <zlib.h>

#include "kernels/check.h"

namespace lexel {
namespace {

// source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central), 4.3.14-16 (ends), 4.5.3 (zip64)
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr uint64_t kMaxMembers = 1'000'000;

class Reader {
 public:
  explicit Reader(const MappedFile& file) : file_(file) {}

  template <class... Parts>
  void want(bool ok, const Parts&... parts) const {
    check(ok, ErrorKind::kBadData, file_.name, ": bad zip file: ", parts...);
  }
  void need(uint64_t at, uint64_t count) const {
    want(at <= file_.bytes && count <= file_.bytes - at, "truncated");
  }
  uint64_t number(uint64_t at, int count) const {  // little-endian
    need(at, static_cast<uint64_t>(count));
    uint64_t value = 0;
    for (int i = 0; i < count; ++i)
      value |= uint64_t{file_.data.get()[at + static_cast<uint64_t>(i)]} << (8 * i);
    return value;
  }
  std::string text(uint64_t at, uint64_t count) const {
    need(at, count);
    return {file_.data.get() + at, file_.data.get() + at + count};
  }
  uint64_t bytes() const { return file_.bytes; }
  const uint8_t* data() const { return file_.data.get(); }

 private:
  const MappedFile& file_;
};

struct Directory {
  uint64_t begin = 0, bytes = 0, members = 0;
};

Directory find_directory(const Reader& in) {
  in.want(in.bytes() >= 22, "truncated");
  // The end record stands last, but for a comment of at most 65,535 bytes whose length it tells.
  const uint64_t lowest = in.bytes() - std::min<uint64_t>(in.bytes(), 22 + 65535);
  for (uint64_t at = in.bytes() - 22;; --at) {
    if (in.number(at, 4) == kEnd && at + 22 + in.number(at + 20, 2) == in.bytes()) {
      Directory directory{in.number(at + 16, 4), in.number(at + 12, 4), in.number(at + 10, 2)};
      uint64_t limit = at;
      if (at >= 20 && in.number(at - 20, 4) == kLocator64) {
        const uint64_t end64 = in.number(at - 12, 8);
        in.need(end64, 56);
        in.want(in.number(end64, 4) == kEnd64 && end64 <= at - 20, "no zip64 end record");
        directory = {in.number(end64 + 48, 8), in.number(end64 + 40, 8), in.number(end64 + 32, 8)};
        limit = end64;
      }
      in.want(directory.begin <= limit && directory.bytes <= limit - directory.begin,
              "directory outside the file");
      in.want(directory.members <= kMaxMembers, directory.members, " members");
      return directory;
    }
    in.want(at > lowest, "no end record");
  }
}

struct Entry {
  std::string name;
  uint64_t crc = 0, bytes = 0, stored_bytes = 0, header = 0;
};

/// Sizes of 0xffffffff are in the zip64 field, in this order, only those.
void read_zip64(const Reader& in, uint64_t at, uint64_t extra_bytes, Entry& entry) {
  const uint64_t end = at + extra_bytes;
  while (end - at >= 4) {
    const uint64_t id = in.number(at, 2), size = in.number(at + 2, 2);
    at += 4;
    in.want(size <= end - at, "bad extra field of ", entry.name);
    uint64_t left = size, from = at;
    for (uint64_t* field : {&entry.bytes, &entry.stored_bytes, &entry.header}) {
      if (id != 1 || *field != 0xffffffff) continue;
      in.want(left >= 8, "bad zip64 field of ", entry.name);
      *field = in.number(from, 8);
      from += 8;
      left -= 8;
    }
    at += size;
  }
}

/// Reads one central record, moves `at` behind it.
Entry read_entry(const Reader& in, uint64_t& at) {
  in.need(at, 46);
  in.want(in.number(at, 4) == kCentral, "bad directory");
  const uint64_t name_bytes = in.number(at + 28, 2), extra_bytes = in.number(at + 30, 2),
                 comment_bytes = in.number(at + 32, 2);
  Entry entry{in.text(at + 46, name_bytes), in.number(at + 16, 4), in.number(at + 24, 4),
              in.number(at + 20, 4), in.number(at + 42, 4)};
  std::replace_if(
      entry.name.begin(), entry.name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  in.need(at + 46 + name_bytes, extra_bytes + comment_bytes);
  read_zip64(in, at + 46 + name_bytes, extra_bytes, entry);
  in.want((in.number(at + 8, 2) & 1) == 0, "encrypted member ", entry.name);
  in.want(in.number(at + 10, 2) == 0, "compressed member ", entry.name,
          " (torch.save stores them)");
  in.want(entry.bytes == entry.stored_bytes, "sizes of ", entry.name, " contradict");
  at += 46 + name_bytes + extra_bytes + comment_bytes;
  return entry;
}

/// From the local header to the last byte of its data.
ZipMember locate(const Reader& in, const Entry& entry, uint64_t limit) {
  in.need(entry.header, 30);
  in.want(in.number(entry.header, 4) == kLocal, "no header of ", entry.name);
  const uint64_t begin =
      entry.header + 30 + in.number(entry.header + 26, 2) + in.number(entry.header + 28, 2);
  in.want(begin <= limit && entry.bytes <= limit - begin, "member ", entry.name,
          " outside the file");
  return {begin, begin + entry.bytes};
}

}  // namespace

std::map<std::string, ZipMember> read_zip_directory(const MappedFile& file) {
  const Reader in(file);
  const Directory directory = find_directory(in);
  std::map<std::string, ZipMember> members;
  std::vector<std::pair<uint64_t, uint64_t>> spans;  // header to end of data, of each member
  uint64_t at = directory.begin;
  for (uint64_t i = 0; i < directory.members; ++i) {
    const Entry entry = read_entry(in, at);
    in.want(at <= directory.begin + directory.bytes, "bad directory");
    const ZipMember member = locate(in, entry, directory.begin);
    in.want(members.emplace(entry.name, member).second, "two members ", entry.name);
    spans.emplace_back(entry.header, member.end);
  }
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i) {
    in.want(spans[i - 1].second <= spans[i].first, "members overlap");
  }
  // Only now that no byte can be counted twice, the sums.
  at = directory.begin;
  for (uint64_t i = 0; i < directory.members; ++i) {
    const Entry entry = read_entry(in, at);
    const ZipMember& member = members.at(entry.name);
    in.want(::crc32_z(0, in.data() + member.begin, member.end - member.begin) == entry.crc,
            "member ", entry.name, " is damaged");
  }
  return members;
}

}  // namespace lexel
