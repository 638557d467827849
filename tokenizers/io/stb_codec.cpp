// BMP, GIF (first frame) and binary PGM/PPM through stb_image, which reads on with zeros where a file
// ends early. So the lengths are checked here first.
#include <cctype>
#include <climits>
#include <cstring>
#include <memory>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_BMP
#define STBI_ONLY_GIF
#define STBI_ONLY_PNM
#define STBI_ONLY_PSD  // never reached: newer versions need its 16-bit conversion for PNM
#define STBI_MAX_DIMENSIONS 256000000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

#include "kernels/check.h"
#include "tokenizers/io/codecs.h"

namespace lexel::codecs {
namespace {

[[noreturn]] void truncated(const Encoded& from) {
  fail(ErrorKind::kBadData, from.name, ": is truncated");
}

uint32_t little(const Encoded& from, size_t at, int bytes) {
  if (at + static_cast<size_t>(bytes) > from.bytes) truncated(from);
  uint32_t value = 0;
  for (int i = bytes; i-- > 0;) value = value << 8 | from.data[at + static_cast<size_t>(i)];
  return value;
}

// The pixels lie where the header says, in rows of whole 32-bit words.
void check_bmp(const Encoded& from, const ImageHeader& header) {
  const uint64_t offset = little(from, 10, 4);
  const bool old = little(from, 14, 4) == 12;
  const uint64_t bits = little(from, old ? 24 : 28, 2);
  const uint64_t stride = (static_cast<uint64_t>(header.width) * bits + 31) / 32 * 4;
  if (offset + stride * static_cast<uint64_t>(header.height) > from.bytes) truncated(from);
}

// Walks the blocks up to the end of the first picture.
void check_gif(const Encoded& from) {
  const auto table = [](uint32_t flags) {
    return flags & 0x80 ? size_t{3} << ((flags & 7) + 1) : 0;
  };
  const auto skip_blocks = [&](size_t at) {
    while (const uint32_t size = little(from, at, 1)) at += 1 + size;
    return at + 1;
  };
  size_t at = 13 + table(little(from, 10, 1));
  for (;;) {
    const uint32_t kind = little(from, at, 1);
    if (kind == 0x21) {  // extension
      at = skip_blocks(at + 2);
    } else if (kind == 0x2C) {  // picture: 9 bytes, its own table, code size, data
      skip_blocks(at + 11 + table(little(from, at + 9, 1)));
      return;
    } else {
      fail(ErrorKind::kBadData, from.name, ": is not a sound GIF file: no picture in it");
    }
  }
}

// "P6", width, height, largest level, each after blanks and comments; then one blank and the pixels.
void check_pnm(const Encoded& from, const ImageHeader& header) {
  size_t at = 2;
  for (int number = 0; number < 3; ++number) {
    for (; at < from.bytes && (std::isspace(from.data[at]) || from.data[at] == '#'); ++at) {
      if (from.data[at] != '#') continue;
      while (at < from.bytes && from.data[at] != '\n') ++at;
    }
    while (at < from.bytes && std::isdigit(from.data[at])) ++at;
  }
  const int64_t channels = from.data[1] == '6' ? 3 : 1;
  const int64_t depth = stbi_is_16_bit_from_memory(from.data, static_cast<int>(from.bytes)) ? 2 : 1;
  if (static_cast<int64_t>(at) + 1 + header.width * header.height * channels * depth >
      static_cast<int64_t>(from.bytes)) {
    truncated(from);
  }
}

}  // namespace

ImageHeader stb_header(const Encoded& from, const std::string& format) {
  int width = 0, height = 0, channels = 0;
  check(from.bytes <= INT_MAX, ErrorKind::kBadData, from.name, ": is longer than 2 GiB");
  const bool known =
      stbi_info_from_memory(from.data, static_cast<int>(from.bytes), &width, &height, &channels);
  check(known, ErrorKind::kBadData, from.name, ": is not a sound ", format,
        " file: ", stbi_failure_reason());
  return {format, width, height};
}

Image decode_stb(const Encoded& from, const std::string& format) {
  const ImageHeader header = stb_header(from, format);
  check_size(from.name, header.width, header.height);
  if (format == "bmp") check_bmp(from, header);
  if (format == "gif") check_gif(from);
  if (format == "pnm") check_pnm(from, header);
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<uint8_t, decltype(&stbi_image_free)> rgba(
      stbi_load_from_memory(from.data, static_cast<int>(from.bytes), &width, &height, &channels, 4),
      &stbi_image_free);
  check(rgba != nullptr, ErrorKind::kBadData, from.name, ": is not a sound ", format,
        " file: ", stbi_failure_reason());
  Image image = empty_image(width, height);
  blend_on_white(rgba.get(), image.pixels.data_ptr<uint8_t>(), int64_t{width} * height);
  return image;
}

}  // namespace lexel::codecs
