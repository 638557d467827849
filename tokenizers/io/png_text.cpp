#include "tokenizers/io/png_text.h"

#include <cstring>
#include <string_view>
#include <zlib.h>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/codecs.h"
#include "tokenizers/utf8.h"

namespace lexel {
namespace {

constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n";
constexpr size_t kHeaderEnd = 33;  // signature 8, then the IHDR chunk: 4 + 4 + 13 + 4

void append_u32(std::vector<uint8_t>& to, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<uint8_t>(value >> shift));
}

bool is_keyword(std::string_view keyword) {
  if (keyword.empty() || keyword.size() > 79 || keyword.front() == ' ' || keyword.back() == ' ')
    return false;
  for (size_t i = 0; i < keyword.size(); ++i) {
    if (keyword[i] < 0x20 || keyword[i] > 0x7e) return false;
    if (keyword[i] == ' ' && keyword[i - 1] == ' ') return false;
  }
  return true;
}

/// An uncompressed iTXt chunk. source  PNG specification, third edition, section 11.3.3.4
void append_chunk(std::vector<uint8_t>& to, const std::string& keyword, const std::string& text) {
  check_arg(is_keyword(keyword), "encode_png",
            "expected a keyword of 1 to 79 ASCII characters, got \"", keyword, "\"");
  check_arg(text.size() <= kMaxPngTextBytes && text.find('\0') == std::string::npos, "encode_png",
            "the text of ", keyword, " has a zero byte or more than ", kMaxPngTextBytes, " bytes");
  check_arg(!first_invalid_utf8(text), "encode_png", "the text of ", keyword, " is not UTF-8");
  // Zeros: the keyword's end, no compression (2), no language, no translated keyword.
  const std::string content = "iTXt" + keyword + std::string(5, '\0') + text;
  append_u32(to, static_cast<uint32_t>(content.size() - 4));
  to.insert(to.end(), content.begin(), content.end());
  const auto* bytes = reinterpret_cast<const Bytef*>(content.data());
  append_u32(to, static_cast<uint32_t>(crc32(0, bytes, static_cast<uInt>(content.size()))));
}

std::string from_latin1(const std::string& text) {
  std::string utf8;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) {
      utf8 += static_cast<char>(0xC0 | byte >> 6);
      utf8 += static_cast<char>(0x80 | (byte & 0x3F));
    } else {
      utf8 += c;
    }
  }
  return utf8;
}

}  // namespace

std::vector<uint8_t> encode_png(const Image& image, const PngText& text) {
  std::vector<uint8_t> chunks;
  for (const auto& [keyword, value] : text) append_chunk(chunks, keyword, value);
  std::vector<uint8_t> png = encode_image(image, "png");
  png.insert(png.begin() + kHeaderEnd, chunks.begin(), chunks.end());
  return png;
}

void write_png(const std::string& path, const Image& image, const PngText& text) {
  const std::vector<uint8_t> png = encode_png(image, text);
  AtomicFile file(path);
  file.write(png.data(), png.size());
  file.commit();
}

PngText read_png_text(const uint8_t* data, size_t bytes, const std::string& name) {
  const codecs::Encoded from{data, bytes, name};
  PngText text;
  if (bytes < kSignature.size() || std::memcmp(data, kSignature.data(), kSignature.size()) != 0)
    return text;
  for (const codecs::RawText& raw : codecs::png_raw_text(from)) {
    // What says that it is UTF-8 and is not was written by a program that took Latin-1 for it.
    const bool utf8 = raw.international && !first_invalid_utf8(raw.text);
    text.emplace(from_latin1(raw.keyword), utf8 ? raw.text : from_latin1(raw.text));
  }
  return text;
}

}  // namespace lexel
