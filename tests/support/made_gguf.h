#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

namespace lexel::tests {

/// Writes a GGUF file byte by byte, so that tests can also write wrong ones.
class MadeGguf {
 public:
  uint64_t alignment = 32;

  static void number(std::string& to, uint64_t value, int size) {
    for (int i = 0; i < size; ++i) to.push_back(static_cast<char>(value >> (8 * i) & 255));
  }
  static void text(std::string& to, const std::string& value) {
    number(to, value.size(), 8);
    to += value;
  }

  void add_text(const std::string& key, const std::string& value) {
    begin(key, 8);
    text(keys_, value);
  }
  void add_integer(const std::string& key, uint64_t value) {  // of 32 bits
    begin(key, 4);
    number(keys_, value, 4);
  }
  void add_real(const std::string& key, float value) {
    begin(key, 6);
    number(keys_, std::bit_cast<uint32_t>(value), 4);
  }
  void add_flag(const std::string& key, uint64_t value) {
    begin(key, 7);
    number(keys_, value, 1);
  }
  void add_texts(const std::string& key, const std::vector<std::string>& values) {
    begin_array(key, 8, values.size());
    for (const std::string& value : values) text(keys_, value);
  }
  void add_integers(const std::string& key, const std::vector<int32_t>& values) {
    begin_array(key, 5, values.size());
    for (const int32_t value : values) number(keys_, static_cast<uint32_t>(value), 4);
  }
  void begin(const std::string& key, uint32_t type) {
    text(keys_, key);
    number(keys_, type, 4);
    ++num_keys_;
  }
  void begin_array(const std::string& key, uint32_t type, uint64_t count) {
    begin(key, 9);
    number(keys_, type, 4);
    number(keys_, count, 8);
  }

  /// sides: contiguous first, as the file has them.
  void add_tensor(const std::string& name, const std::vector<uint64_t>& sides, uint32_t type,
                  const std::string& content) {
    body_.resize((body_.size() + alignment - 1) / alignment * alignment);
    add_entry(name, sides, type, body_.size());
    body_ += content;
  }
  void add_floats(const std::string& name, const std::vector<uint64_t>& sides,
                  const float* values) {
    uint64_t count = 1;
    for (const uint64_t side : sides) count *= side;
    std::string content;
    for (uint64_t i = 0; i < count; ++i) number(content, std::bit_cast<uint32_t>(values[i]), 4);
    add_tensor(name, sides, 0, content);
  }
  void add_entry(const std::string& name, const std::vector<uint64_t>& sides, uint32_t type,
                 uint64_t offset) {
    text(entries_, name);
    number(entries_, sides.size(), 4);
    for (const uint64_t side : sides) number(entries_, side, 8);
    number(entries_, type, 4);
    number(entries_, offset, 8);
    ++num_tensors_;
  }

  std::string text_of_file(uint32_t version = 3) const {
    std::string file = "GGUF";
    number(file, version, 4);
    number(file, num_tensors_, 8);
    number(file, num_keys_, 8);
    file += keys_ + entries_;
    if (num_tensors_ > 0) file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + body_;
  }
  std::vector<uint8_t> bytes(uint32_t version = 3) const {
    const std::string file = text_of_file(version);
    return {file.begin(), file.end()};
  }

 private:
  std::string keys_, entries_, body_;
  uint64_t num_keys_ = 0, num_tensors_ = 0;
};

}  // namespace lexel::tests
