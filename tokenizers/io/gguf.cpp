#include "tokenizers/io/gguf.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/gguf_blocks.h"
#include "tokenizers/io/mapped_file.h"
#include "tokenizers/utf8.h"

namespace lexel {
namespace {

constexpr uint64_t kMaxNameBytes = 256;  // of keys and tensors; what goes into messages

// Types of metadata, as the file numbers them.
enum ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

/// Reads little-endian numbers and strings; every read is checked against the end.
class Cursor {
 public:
  Cursor(const uint8_t* data, uint64_t bytes, const std::string& name)
      : data_(data), bytes_(bytes), name_(name) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_ - position_; }

  uint64_t number(unsigned size) {
    need(size);
    uint64_t value = 0;
    for (unsigned i = 0; i < size; ++i) value |= uint64_t{data_[position_ + i]} << (8 * i);
    position_ += size;
    return value;
  }

  std::string string(uint64_t most) {
    const uint64_t size = number(8);
    check(size <= most, ErrorKind::kBadData, name_, ": a string of ", size, " bytes where at most ",
          most, " can stand");
    need(size);
    std::string text(reinterpret_cast<const char*>(data_ + position_), size);
    position_ += size;
    return text;
  }

  /// A name or key: short, not empty, UTF-8 without control characters, since it may be shown.
  std::string label() {
    std::string text = string(kMaxNameBytes);
    check(!text.empty() && !first_invalid_utf8(text) &&
              std::ranges::none_of(text, [](char c) { return c >= 0 && (c < 32 || c == 127); }),
          ErrorKind::kBadData, name_, ": a name before byte ", position_, " is no text");
    return text;
  }

  void need(uint64_t size) const {
    check(size <= left(), ErrorKind::kBadData, name_, ": ends at byte ", bytes_, " where ", size,
          " more are expected after ", position_);
  }

 private:
  const uint8_t* data_;
  uint64_t bytes_, position_ = 0;
  const std::string& name_;
};

unsigned size_of(uint32_t type) {  // of a number, in bytes; of others the fewest bytes
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    default:
      return 8;
  }
}

int64_t read_integer(Cursor& cursor, uint32_t type, const std::string& name) {
  const unsigned size = size_of(type);
  const uint64_t bits = cursor.number(size);
  if (type == kI8 || type == kI16 || type == kI32 || type == kI64) {
    const unsigned shift = 64 - 8 * size;
    return static_cast<int64_t>(bits << shift) >> shift;
  }
  check(bits <= INT64_MAX, ErrorKind::kBadData, name, ": ", bits, " is more than 63 bits hold");
  return static_cast<int64_t>(bits);
}

double read_real(Cursor& cursor, uint32_t type) {
  return type == kF32 ? std::bit_cast<float>(static_cast<uint32_t>(cursor.number(4)))
                      : std::bit_cast<double>(cursor.number(8));
}

bool read_bool(Cursor& cursor, const std::string& name) {
  const uint64_t value = cursor.number(1);
  check(value <= 1, ErrorKind::kBadData, name, ": a truth value of ", value);
  return value == 1;
}

GgufFile::Value read_array(Cursor& cursor, const std::string& name) {
  const auto type = static_cast<uint32_t>(cursor.number(4));
  check(type <= kF64, ErrorKind::kBadData, name, ": an array of the unknown type ", type);
  check(type != kArray, ErrorKind::kUnsupported, name, ": an array of arrays");
  const uint64_t count = cursor.number(8);
  check(count <= cursor.left() / size_of(type), ErrorKind::kBadData, name, ": an array of ", count,
        " elements in the last ", cursor.left(), " bytes");
  const auto fill = [&](auto values, auto read) {
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.push_back(read());
    return values;
  };
  if (type == kString) {
    return fill(std::vector<std::string>(), [&] { return cursor.string(cursor.left()); });
  }
  if (type == kBool) return fill(std::vector<bool>(), [&] { return read_bool(cursor, name); });
  if (type == kF32 || type == kF64) {
    return fill(std::vector<double>(), [&] { return read_real(cursor, type); });
  }
  return fill(std::vector<int64_t>(), [&] { return read_integer(cursor, type, name); });
}

GgufFile::Value read_value(Cursor& cursor, const std::string& name) {
  const auto type = static_cast<uint32_t>(cursor.number(4));
  check(type <= kF64, ErrorKind::kBadData, name, ": metadata of the unknown type ", type);
  if (type == kArray) return read_array(cursor, name);
  if (type == kString) return cursor.string(cursor.left());
  if (type == kBool) return read_bool(cursor, name);
  if (type == kF32 || type == kF64) return read_real(cursor, type);
  return read_integer(cursor, type, name);
}

std::pair<std::string, GgufFile::Entry> read_entry(Cursor& cursor, const std::string& name) {
  const std::string key = cursor.label();
  const auto want = [&](bool ok, const auto&... what) {
    check(ok, ErrorKind::kBadData, name, ": tensor \"", key, "\": ", what...);
  };
  GgufFile::Entry entry;
  const uint64_t dimensions = cursor.number(4);
  want(dimensions >= 1 && dimensions <= 4, "expected 1 to 4 dimensions, got ", dimensions);
  uint64_t numbers = 1;
  for (uint64_t i = 0; i < dimensions; ++i) {
    const uint64_t side = cursor.number(8);
    want(side >= 1 && !__builtin_mul_overflow(numbers, side, &numbers) && numbers <= INT64_MAX / 4,
         "expected sides >= 1 and fewer than 2^61 numbers, got a side of ", side);
    entry.shape.insert(entry.shape.begin(), static_cast<int64_t>(side));  // contiguous first
  }
  entry.type = static_cast<uint32_t>(cursor.number(4));
  const GgufBlocks* const blocks = find_gguf_blocks(entry.type);
  check(blocks != nullptr, ErrorKind::kUnsupported, name, ": tensor \"", key, "\": of type ",
        entry.type, "; F32, F16, BF16, Q4_0, Q4_1, Q8_0 and Q6_K are read");
  entry.type_name = blocks->name;
  const auto row = static_cast<uint64_t>(entry.shape.back());
  want(row % blocks->numbers == 0, "expected rows of a multiple of ", blocks->numbers,
       " numbers for ", blocks->name, ", got ", row);
  want(!__builtin_mul_overflow(numbers / blocks->numbers, blocks->bytes, &entry.bytes),
       "too large");
  entry.begin = cursor.number(8);
  return {key, entry};
}

void check_places(const std::map<std::string, GgufFile::Entry>& entries, uint64_t body_bytes,
                  uint64_t alignment, const std::string& name) {
  std::vector<std::pair<uint64_t, const std::string*>> order;
  for (const auto& [key, entry] : entries) {
    const auto want = [&](bool ok, const auto&... what) {
      check(ok, ErrorKind::kBadData, name, ": tensor \"", key, "\": ", what...);
    };
    want(entry.begin % alignment == 0, "byte ", entry.begin, " is no multiple of ", alignment);
    want(entry.begin <= body_bytes && entry.bytes <= body_bytes - entry.begin, "bytes ",
         entry.begin, " to ", entry.begin, " + ", entry.bytes, " of ", body_bytes);
    order.emplace_back(entry.begin, &key);
  }
  std::sort(order.begin(), order.end());
  for (size_t i = 1; i < order.size(); ++i) {
    const GgufFile::Entry& before = entries.at(*order[i - 1].second);
    check(before.begin + before.bytes <= order[i].first, ErrorKind::kBadData, name, ": tensor \"",
          *order[i].second, "\" overlaps \"", *order[i - 1].second, "\"");
  }
}

}  // namespace

GgufFile::GgufFile(const std::string& path) : GgufFile(map_file(path)) {}

GgufFile::GgufFile(std::vector<uint8_t> content, const std::string& name)
    : GgufFile(in_memory(std::move(content), name)) {}

GgufFile::GgufFile(const MappedFile& file)
    : name_(file.name), data_(file.data), bytes_(file.bytes) {
  parse();
}

void GgufFile::parse() {
  Cursor cursor(data_.get(), bytes_, name_);
  check(bytes_ >= 24 && cursor.number(4) == 0x46554747, ErrorKind::kBadData, name_,  // "GGUF"
        ": not a GGUF file");
  const uint64_t version = cursor.number(4);
  check(version == 2 || version == 3, ErrorKind::kUnsupported, name_, ": GGUF version ", version,
        version >= 1 << 24 ? " (big-endian)" : "", "; 2 and 3 are read, little-endian");
  const uint64_t tensors = cursor.number(8), keys = cursor.number(8);
  // A key takes at least 8 + 1 + 4 + 1 bytes, a tensor's entry 8 + 1 + 4 + 8 + 4 + 8.
  check(keys <= cursor.left() / 14 && tensors <= cursor.left() / 33, ErrorKind::kBadData, name_,
        ": ", keys, " keys and ", tensors, " tensors in a file of ", bytes_, " bytes");
  for (uint64_t i = 0; i < keys; ++i) {
    const std::string key = cursor.label();
    const bool is_new = metadata_.emplace(key, read_value(cursor, name_)).second;
    check(is_new, ErrorKind::kBadData, name_, ": key \"", key, "\" twice");
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    auto entry = read_entry(cursor, name_);
    const bool is_new = entries_.insert(entry).second;
    check(is_new, ErrorKind::kBadData, name_, ": tensor \"", entry.first, "\" twice");
  }
  const int64_t alignment = get_or<int64_t>("general.alignment", 32);
  check(alignment >= 1 && alignment <= 1 << 20 && (alignment & (alignment - 1)) == 0,
        ErrorKind::kBadData, name_, ": an alignment of ", alignment, " bytes");
  const auto step = static_cast<uint64_t>(alignment);
  body_ = (cursor.position() + step - 1) / step * step;
  check(entries_.empty() || body_ <= bytes_, ErrorKind::kBadData, name_, ": ends at byte ", bytes_,
        " before its tensors");
  check_places(entries_, bytes_ - std::min(body_, bytes_), step, name_);
}

template <class T>
const T& GgufFile::get(const std::string& key) const {
  const auto found = metadata_.find(key);
  check(found != metadata_.end(), ErrorKind::kBadData, name_, ": metadata \"", key,
        "\" is missing");
  const T* const value = std::get_if<T>(&found->second);
  check(value != nullptr, ErrorKind::kBadData, name_, ": metadata \"", key,
        "\" is of another type than expected");
  return *value;
}

template const bool& GgufFile::get(const std::string&) const;
template const int64_t& GgufFile::get(const std::string&) const;
template const double& GgufFile::get(const std::string&) const;
template const std::string& GgufFile::get(const std::string&) const;
template const std::vector<int64_t>& GgufFile::get(const std::string&) const;
template const std::vector<std::string>& GgufFile::get(const std::string&) const;

at::Tensor GgufFile::tensor(const std::string& key) const {
  const auto found = entries_.find(key);
  check(found != entries_.end(), ErrorKind::kBadData, name_, ": tensor \"", key, "\" is missing");
  const Entry& entry = found->second;
  const GgufBlocks& blocks = *find_gguf_blocks(entry.type);
  const at::Tensor result = at::empty(entry.shape, at::kFloat);
  const uint8_t* const from = data_.get() + body_ + entry.begin;
  float* const to = result.mutable_data_ptr<float>();
  bool finite = true;
  for (uint64_t i = 0; i < entry.bytes / blocks.bytes; ++i) {
    float* const values = to + i * blocks.numbers;
    blocks.dequantise(from + i * blocks.bytes, values);
    for (uint64_t n = 0; n < blocks.numbers; ++n) finite = finite && std::isfinite(values[n]);
  }
  check(finite, ErrorKind::kBadData, name_, ": tensor \"", key, "\": not all finite");
  return result;
}

}  // namespace lexel
