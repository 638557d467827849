#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace lexel {

struct MappedFile;

/// A GGUF file (a language model with its vocabulary) opened for reading: metadata and the places of all tensors are checked
/// in full when it is opened, tensors are dequantised out of the mapped file when they are asked for. Any content is safe
/// to open; memory taken for it is at most eight times the file.
///
/// source  ggml-org/ggml, docs/gguf.md: versions 2 and 3, little-endian
class GgufFile {
 public:
  using Value = std::variant<bool, int64_t, double, std::string, std::vector<bool>,
                             std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

  struct Entry {
    uint32_t type = 0;           // as in the file
    std::string type_name;       // "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0" or "Q6_K"
    std::vector<int64_t> shape;  // as LibTorch orders it: the dimension that lies contiguous last
    uint64_t begin = 0, bytes = 0;  // from the start of the tensors' part
  };

  /// throws  Error(kIo) cannot be opened; Error(kBadData) cut off, counts or sizes that the file cannot hold, a key or
  ///         name twice, tensors that overlap, lie off their alignment or end past the file; Error(kUnsupported) another
  ///         version or byte order, an array of arrays, a tensor type that is not listed above
  explicit GgufFile(const std::string& path);

  /// The same from memory; `name` stands for the path in messages.
  GgufFile(std::vector<uint8_t> content, const std::string& name);

  const std::string& name() const { return name_; }
  const std::map<std::string, Value>& metadata() const { return metadata_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }

  /// The metadata of a key that must be there, as one of the types of Value.
  /// throws  Error(kBadData) naming the key: missing, or of another type
  template <class T>
  const T& get(const std::string& key) const;

  /// The same; `otherwise` where the key is missing.
  template <class T>
  T get_or(const std::string& key, T otherwise) const {
    return metadata_.contains(key) ? get<T>(key) : otherwise;
  }

  /// One tensor, dequantised: float32, contiguous, CPU, its own memory.
  /// throws  Error(kBadData) no such tensor, or a value that is not finite
  at::Tensor tensor(const std::string& key) const;

 private:
  explicit GgufFile(const MappedFile& file);
  void parse();

  std::string name_;
  std::shared_ptr<const uint8_t> data_;  // the whole file, mapped or in memory
  uint64_t bytes_ = 0, body_ = 0;        // size of the file; where the tensors start
  std::map<std::string, Value> metadata_;
  std::map<std::string, Entry> entries_;
};

extern template const bool& GgufFile::get(const std::string&) const;
extern template const int64_t& GgufFile::get(const std::string&) const;
extern template const double& GgufFile::get(const std::string&) const;
extern template const std::string& GgufFile::get(const std::string&) const;
extern template const std::vector<int64_t>& GgufFile::get(const std::string&) const;
extern template const std::vector<std::string>& GgufFile::get(const std::string&) const;

}  // namespace lexel
