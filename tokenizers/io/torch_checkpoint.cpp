#include "tokenizers/io/torch_checkpoint.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/check.h"
#include "tokenizers/io/torch_container.h"

namespace lexel {
namespace {

using pickle::Kind;
using pickle::Value;

/// The storages of a checkpoint as 1-D tensors, each copied once.
class Storages {
 public:
  explicit Storages(const TorchContainer& container) : container_(container) {}

  at::Tensor of(const Value& storage) {
    const auto known = loaded_.find(storage.text);
    if (known != loaded_.end()) {
      want(known->second.scalar_type() == storage.dtype, "a storage has two dtypes");
      return known->second;
    }
    const auto found = container_.storages.find(storage.text);
    want(found != container_.storages.end(), "a storage is missing");
    const TorchContainer::Span& span = found->second;
    const uint64_t width = c10::elementSize(storage.dtype);
    want(static_cast<uint64_t>(storage.integer) <= span.bytes / width &&
             static_cast<uint64_t>(storage.integer) * width == span.bytes,
         "a storage of ", storage.integer, " elements has ", span.bytes, " bytes");
    if (storage.dtype == at::kBool) {
      want(std::all_of(span.data, span.data + span.bytes, [](uint8_t v) { return v <= 1; }),
           "a bool that is neither 0 nor 1");
    }
    at::Tensor result = at::empty({storage.integer}, storage.dtype);
    if (span.bytes > 0) std::memcpy(result.data_ptr(), span.data, span.bytes);
    loaded_[storage.text] = result;
    return result;
  }

 private:
  template <class... Parts>
  void want(bool ok, const Parts&... parts) const {
    check(ok, ErrorKind::kBadData, container_.file.name, ": ", parts...);
  }
  const TorchContainer& container_;
  std::map<std::string, at::Tensor> loaded_;
};

/// A view of its storage, once all its elements are known to lie inside.
at::Tensor make_tensor(const Value& value, Storages& storages, const std::string& where) {
  const at::Tensor storage = storages.of(*value.items[0]);
  const size_t dimensions = (value.numbers.size() - 1) / 2;
  const int64_t offset = value.numbers[0];
  const at::IntArrayRef sizes(value.numbers.data() + 1, dimensions);
  const at::IntArrayRef strides(value.numbers.data() + 1 + dimensions, dimensions);
  int64_t count = 1, last = offset;  // elements; index of the last one
  bool fits = offset >= 0;
  for (size_t i = 0; i < dimensions; ++i) {
    int64_t step = 0;
    fits = fits && !__builtin_mul_overflow(count, std::max<int64_t>(sizes[i], 1), &count) &&
           !__builtin_mul_overflow(std::max<int64_t>(sizes[i] - 1, 0), strides[i], &step) &&
           !__builtin_add_overflow(last, step, &last);
  }
  const bool empty = std::count(sizes.begin(), sizes.end(), 0) > 0;
  fits = fits && (empty ? offset <= storage.numel() : last < storage.numel());
  // A tensor larger than its storage (stride 0) would grow without bound when it is copied.
  check(fits && (empty || count <= storage.numel()), ErrorKind::kBadData, where, " of shape ",
        sizes, " lies outside its storage of ", storage.numel(), " elements");
  return storage.as_strided(sizes, strides, offset);
}

std::map<std::string, at::Tensor> read(MappedFile file) {
  const std::string name = file.name;
  const TorchContainer container = open_torch_container(std::move(file));
  const Value* dict = container.pickle.root;
  check(dict->kind == Kind::kDict, ErrorKind::kBadData, name, ": expected a dict of tensors");
  const Value* const inner = pickle::find(*dict, "state_dict");
  if (inner != nullptr && inner->kind == Kind::kDict) dict = inner;

  Storages storages(container);
  std::map<std::string, at::Tensor> tensors;
  for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
    const Value &key = *dict->items[i], &value = *dict->items[i + 1];
    if (key.kind != Kind::kString || value.kind != Kind::kTensor) continue;
    tensors[key.text] = make_tensor(value, storages, concat(name, ": tensor \"", key.text, "\""));
  }
  check(!tensors.empty(), ErrorKind::kBadData, name, ": holds no tensors by name");
  return tensors;
}

}  // namespace

std::map<std::string, at::Tensor> read_torch_checkpoint(const std::string& path) {
  return read(map_file(path));
}

std::map<std::string, at::Tensor> read_torch_checkpoint(std::vector<uint8_t> content,
                                                        const std::string& name) {
  return read(in_memory(std::move(content), name));
}

}  // namespace lexel
