#include "tokenizers/io/safetensors.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/mapped_file.h"

namespace lexel {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

struct Dtype {
  const char* name;
  at::ScalarType type;
};
constexpr Dtype kDtypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat},  {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},    {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"U16", at::kUInt16}, {"BOOL", at::kBool},
};

// The header as JSON. Stops at depth 4 (the format has 3) and at a key that an object holds twice.
json parse_header(const uint8_t* text, uint64_t bytes, const std::string& name) {
  std::vector<std::set<std::string>> keys;  // of the open objects
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    check(depth <= 4, ErrorKind::kBadData, name, ": header nested too deeply");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      check(keys.back().insert(key).second, ErrorKind::kBadData, name, ": key \"", key,
            "\" twice in the header");
    }
    return true;
  };
  json header = json::parse(text, text + bytes, watch, /*allow_exceptions=*/false);
  check(header.is_object(), ErrorKind::kBadData, name, ": header is not a JSON object");
  return header;
}

uint64_t unsigned_of(const json& value, const std::string& name, const std::string& key) {
  check(value.is_number_unsigned(), ErrorKind::kBadData, name, ": tensor \"", key,
        "\": expected sizes >= 0, got ",
        value.dump(-1, ' ', false, json::error_handler_t::replace));
  return value.get<uint64_t>();
}

SafetensorsFile::Entry parse_entry(const json& value, uint64_t body_bytes, const std::string& name,
                                   const std::string& key) {
  const auto want = [&](bool ok, const char* what) {
    check(ok, ErrorKind::kBadData, name, ": tensor \"", key, "\": ", what);
  };
  want(value.is_object() && value.size() == 3, "expected dtype, shape and data_offsets");
  want(value.contains("dtype") && value["dtype"].is_string(), "no dtype");
  want(value.contains("shape") && value["shape"].is_array(), "no shape");
  want(value.contains("data_offsets") && value["data_offsets"].is_array() &&
           value["data_offsets"].size() == 2,
       "no data_offsets");

  SafetensorsFile::Entry entry;
  entry.dtype_name = value["dtype"].get<std::string>();
  const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const Dtype& d) { return entry.dtype_name == d.name; });
  check(dtype != std::end(kDtypes), ErrorKind::kBadData, name, ": tensor \"", key,
        "\": unknown dtype \"", entry.dtype_name, "\"");
  entry.dtype = dtype->type;

  want(value["shape"].size() <= 64, "more than 64 dimensions");
  uint64_t size = c10::elementSize(entry.dtype);  // bytes
  bool empty = false;
  for (const json& side : value["shape"]) {
    const uint64_t n = unsigned_of(side, name, key);
    want(n <= INT64_MAX, "shape too large");
    entry.shape.push_back(static_cast<int64_t>(n));
    empty = empty || n == 0;
    // A zero side does not excuse the others: their product must fit as well.
    want(!__builtin_mul_overflow(size, std::max<uint64_t>(n, 1), &size) && size <= INT64_MAX,
         "shape too large");
  }
  if (empty) size = 0;
  entry.begin = unsigned_of(value["data_offsets"][0], name, key);
  entry.end = unsigned_of(value["data_offsets"][1], name, key);
  check(entry.begin <= entry.end && entry.end <= body_bytes, ErrorKind::kBadData, name,
        ": tensor \"", key, "\": bytes ", entry.begin, " to ", entry.end, " of ", body_bytes);
  check(entry.end - entry.begin == size, ErrorKind::kBadData, name, ": tensor \"", key,
        "\": expected ", size, " bytes for its shape, got ", entry.end - entry.begin);
  return entry;
}

// The format demands that the tensors fill the rest of the file: no overlap, no gap, nothing
// behind.
void check_tiling(const std::map<std::string, SafetensorsFile::Entry>& entries, uint64_t body_bytes,
                  const std::string& name) {
  std::vector<const std::map<std::string, SafetensorsFile::Entry>::value_type*> sorted;
  for (const auto& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t position = 0;
  for (const auto* entry : sorted) {
    check(entry->second.begin >= position, ErrorKind::kBadData, name, ": tensor \"", entry->first,
          "\" overlaps another");
    check(entry->second.begin == position, ErrorKind::kBadData, name, ": ",
          entry->second.begin - position, " bytes before tensor \"", entry->first,
          "\" belong to none");
    position = entry->second.end;
  }
  check(position == body_bytes, ErrorKind::kBadData, name, ": ", body_bytes - position,
        " bytes after the last tensor");
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : SafetensorsFile(map_file(path)) {}

SafetensorsFile::SafetensorsFile(std::vector<uint8_t> content, const std::string& name)
    : SafetensorsFile(in_memory(std::move(content), name)) {}

SafetensorsFile::SafetensorsFile(const MappedFile& file)
    : name_(file.name), data_(file.data), bytes_(file.bytes) {
  parse();
}

void SafetensorsFile::parse() {
  check(bytes_ >= 8, ErrorKind::kBadData, name_, ": ", bytes_,
        " bytes are too few for a safetensors file");
  uint64_t header_bytes = 0;
  for (int i = 0; i < 8; ++i) header_bytes |= uint64_t{data_.get()[i]} << (8 * i);
  check(header_bytes <= bytes_ - 8, ErrorKind::kBadData, name_,
        ": not a safetensors file: header of ", header_bytes, " bytes in a file of ", bytes_);
  check(header_bytes <= kMaxHeaderBytes, ErrorKind::kBadData, name_, ": header of ", header_bytes,
        " bytes, more than ", kMaxHeaderBytes);
  body_ = 8 + header_bytes;

  const json header = parse_header(data_.get() + 8, header_bytes, name_);
  for (const auto& [key, value] : header.items()) {
    if (key != kMetadataKey) {
      entries_.emplace(key, parse_entry(value, bytes_ - body_, name_, key));
      continue;
    }
    check(value.is_object(), ErrorKind::kBadData, name_, ": ", kMetadataKey, " is not an object");
    for (const auto& [field, text] : value.items()) {
      check(text.is_string(), ErrorKind::kBadData, name_, ": metadata \"", field,
            "\" is not a string");
      metadata_[field] = text.get<std::string>();
    }
  }
  check_tiling(entries_, bytes_ - body_, name_);
}

at::Tensor SafetensorsFile::tensor(const std::string& key) const {
  const auto found = entries_.find(key);
  check(found != entries_.end(), ErrorKind::kBadData, name_, ": tensor \"", key, "\" is missing");
  const Entry& entry = found->second;
  const uint8_t* const from = data_.get() + body_ + entry.begin;
  const uint64_t size = entry.end - entry.begin;
  if (entry.dtype == at::kBool) {
    check(std::all_of(from, from + size, [](uint8_t v) { return v <= 1; }), ErrorKind::kBadData,
          name_, ": tensor \"", key, "\": a BOOL that is neither 0 nor 1");
  }
  at::Tensor result = at::empty(entry.shape, entry.dtype);
  if (size > 0) std::memcpy(result.data_ptr(), from, size);
  return result;
}

std::map<std::string, at::Tensor> SafetensorsFile::tensors() const {
  std::map<std::string, at::Tensor> all;
  for (const auto& [key, entry] : entries_) all.emplace(key, tensor(key));
  return all;
}

std::string required_metadata(const SafetensorsFile& file, const std::string& key,
                              const std::string& what) {
  const auto found = file.metadata().find(key);
  check(found != file.metadata().end(), ErrorKind::kBadData, file.name(), ": not ", what,
        ": metadata \"", key, "\" is missing");
  return found->second;
}

std::vector<uint8_t> encode_safetensors(const std::map<std::string, std::string>& metadata,
                                        const std::map<std::string, at::Tensor>& tensors) {
  struct Item {
    std::string key;
    const char* dtype;
    at::Tensor tensor;
  };
  std::vector<Item> items;
  for (const auto& [key, tensor] : tensors) {
    check_arg(key != kMetadataKey, "encode_safetensors", "\"", key, "\" cannot name a tensor");
    const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) {
      return tensor.scalar_type() == d.type;
    });
    check_arg(dtype != std::end(kDtypes), "encode_safetensors", "tensor \"", key,
              "\": cannot store dtype ", c10::toString(tensor.scalar_type()));
    items.push_back({key, dtype->name, tensor.detach().cpu().contiguous()});
  }
  // Widest elements first: with a header of a multiple of 8 bytes every tensor is aligned.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.tensor.element_size() > b.tensor.element_size();
  });

  ordered_json header = ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t position = 0;
  for (const Item& item : items) {
    const uint64_t end = position + item.tensor.nbytes();
    header[item.key] = {{"dtype", item.dtype},
                        {"shape", item.tensor.sizes().vec()},
                        {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = header.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');

  std::vector<uint8_t> out(8 + text.size() + position);
  for (int i = 0; i < 8; ++i) out[i] = static_cast<uint8_t>(uint64_t{text.size()} >> (8 * i));
  std::memcpy(out.data() + 8, text.data(), text.size());
  uint8_t* to = out.data() + 8 + text.size();
  for (const Item& item : items) {
    if (item.tensor.nbytes() == 0) continue;
    std::memcpy(to, item.tensor.const_data_ptr(), item.tensor.nbytes());
    to += item.tensor.nbytes();
  }
  return out;
}

void write_safetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                       const std::map<std::string, at::Tensor>& tensors) {
  const std::vector<uint8_t> content = encode_safetensors(metadata, tensors);
  AtomicFile file(path);
  file.write(content.data(), content.size());
  file.commit();
}

}  // namespace lexel
