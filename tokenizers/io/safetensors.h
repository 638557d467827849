#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace lexel {

struct MappedFile;

/// A .safetensors file opened for reading: its header is checked in full when it is opened, its
/// tensors are copied out of the mapped file when they are asked for. Any content is safe to open.
class SafetensorsFile {
 public:
  struct Entry {
    at::ScalarType dtype;
    std::string dtype_name;  // as in the file: "F32", "BF16", "U8", ...
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  // bytes, from the end of the header
  };

  /// throws  Error(kIo) cannot be opened; Error(kBadData) too short, a header longer than the file or
  ///         than 100 MB, not JSON, a key twice, an unknown dtype, a size that does not fit its
  ///         shape, tensors that overlap, leave a gap or end past the file
  explicit SafetensorsFile(const std::string& path);

  /// The same from memory (a file that came through a pipe); `name` stands for the path in messages.
  SafetensorsFile(std::vector<uint8_t> content, const std::string& name);

  const std::string& name() const { return name_; }
  int64_t bytes() const { return static_cast<int64_t>(bytes_); }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }

  /// One tensor: contiguous, CPU, its own memory.
  /// throws  Error(kBadData) no such tensor, or a BOOL that is neither 0 nor 1
  at::Tensor tensor(const std::string& key) const;

  /// All tensors.
  std::map<std::string, at::Tensor> tensors() const;

 private:
  explicit SafetensorsFile(const MappedFile& file);
  void parse();

  std::string name_;
  std::shared_ptr<const uint8_t> data_;  // the whole file, mapped or in memory
  uint64_t bytes_ = 0, body_ = 0;        // size of the file; where the tensors start
  std::map<std::string, std::string> metadata_;
  std::map<std::string, Entry> entries_;
};

/// The metadata of a key that must be there.
///
/// what     the kind of file that was expected, for the message: "a Lexel model file"
/// throws   Error(kBadData) "NAME: not WHAT: metadata KEY is missing"
std::string required_metadata(const SafetensorsFile& file, const std::string& key,
                              const std::string& what);

/// The bytes of a .safetensors file: tensors ordered by alignment, then name, each aligned to its
/// dtype; the same content gives the same bytes. Text that is not UTF-8 gets
/// replacement characters.
///
/// tensors  any device and strides; float64/32/16, bfloat16, int64/32/16/8, uint8/16, bool
/// throws   Error(kUsage) another dtype, or a tensor named "__metadata__"
std::vector<uint8_t> encode_safetensors(const std::map<std::string, std::string>& metadata,
                                        const std::map<std::string, at::Tensor>& tensors);

/// Writes them atomically. throws Error(kIo) as well
void write_safetensors(const std::string& path, const std::map<std::string, std::string>& metadata,
                       const std::map<std::string, at::Tensor>& tensors);

}  // namespace lexel
