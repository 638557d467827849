#include "tokenizers/io/torch_container.h"

#include <cstring>
#include <set>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/zip_directory.h"

namespace lexel {
namespace {

using pickle::Kind;
using pickle::Value;

constexpr uint64_t kMaxPickleBytes = 64 << 20;  // tensors are not in it

bool starts_with(const MappedFile& file, const std::string& bytes) {
  return file.bytes >= bytes.size() &&
         std::memcmp(file.data.get(), bytes.data(), bytes.size()) == 0;
}

/// archive/data.pkl, archive/data/0, archive/data/1, ..., archive/byteorder; any name for "archive".
TorchContainer open_zip(MappedFile file) {
  TorchContainer result;
  const auto members = read_zip_directory(file);
  std::string root;
  for (const auto& [name, member] : members) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos && name.substr(slash) == "/data.pkl")
      root = name.substr(0, slash + 1);
  }
  check(!root.empty(), ErrorKind::kBadData, file.name, ": a zip file, but not one of torch.save");
  check(members.count(root + "constants.pkl") == 0, ErrorKind::kUnsupported, file.name,
        ": a TorchScript archive, which is a program and not a checkpoint");
  if (const auto order = members.find(root + "byteorder"); order != members.end()) {
    const std::string text(file.data.get() + order->second.begin,
                           file.data.get() + order->second.end);
    check(text == "little", ErrorKind::kBadData, file.name,
          ": expected little-endian tensors, got \"", text.substr(0, 20), "\"");
  }
  for (const auto& [name, member] : members) {
    if (!name.starts_with(root + "data/")) continue;
    result.storages[name.substr(root.size() + 5)] = {file.data.get() + member.begin,
                                                     member.end - member.begin};
  }
  const ZipMember& source = members.at(root + "data.pkl");
  check(source.end - source.begin <= kMaxPickleBytes, ErrorKind::kBadData, file.name,
        ": pickle of ", source.end - source.begin, " bytes, more than ", kMaxPickleBytes);
  result.pickle =
      pickle::parse(file.data.get() + source.begin, source.end - source.begin, file.name);
  result.file = std::move(file);
  return result;
}

/// 0x1950a86a20f9469cfc6c, the first pickle of the old format.
const std::string kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
const std::string kLegacyStart = "\x80\x02\x8a\x0a" + kMagic;

/// Pickles of magic, version, system, object and storage keys, then for each key its length and elements.
TorchContainer open_legacy(MappedFile file) {
  TorchContainer result;
  uint64_t at = 0;
  const auto want = [&](bool ok, const auto&... parts) {
    check(ok, ErrorKind::kBadData, file.name, ": bad checkpoint: ", parts...);
  };
  const auto next = [&] {
    const uint64_t left = std::min(file.bytes - at, kMaxPickleBytes);
    pickle::Document document = pickle::parse(file.data.get() + at, left, file.name);
    at += document.bytes;
    return document;
  };
  next();  // the magic number
  const pickle::Document version = next();
  want(version.root->kind == Kind::kInt && version.root->integer == 1001, "unknown version");
  const pickle::Document system = next();
  const Value* const little = pickle::find(*system.root, "little_endian");
  want(little != nullptr && little->kind == Kind::kBool && little->integer == 1,
       "not little-endian");
  result.pickle = next();
  const pickle::Document keys = next();
  want(keys.root->kind == Kind::kList, "no list of storages");

  std::map<std::string, const Value*> types;  // what the pickle says about each key
  for (const Value& value : result.pickle.arena) {
    if (value.kind == Kind::kStorage) types[value.text] = &value;
  }
  for (const Value* key : keys.root->items) {
    want(key->kind == Kind::kString && types.count(key->text) == 1, "a storage that no tensor has");
    want(result.storages.count(key->text) == 0, "storage ", result.storages.size(), " twice");
    want(file.bytes - at >= 8, "truncated");
    uint64_t elements = 0;
    for (int i = 0; i < 8; ++i) elements |= uint64_t{file.data.get()[at++]} << (8 * i);
    const uint64_t width = c10::elementSize(types[key->text]->dtype);
    want(elements <= (file.bytes - at) / width, "truncated");
    result.storages[key->text] = {file.data.get() + at, elements * width};
    at += elements * width;
  }
  result.file = std::move(file);
  return result;
}

}  // namespace

TorchContainer open_torch_container(MappedFile file) {
  if (starts_with(file, std::string("PK\x03\x04", 4))) return open_zip(std::move(file));
  check(starts_with(file, kLegacyStart), ErrorKind::kBadData, file.name,
        ": not a checkpoint of torch.save");
  return open_legacy(std::move(file));
}

}  // namespace lexel
