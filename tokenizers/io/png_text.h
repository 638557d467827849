#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel {

/// Text inside a PNG file: keyword ("Description", "Software", one of our own) -> UTF-8.
using PngText = std::map<std::string, std::string>;

inline constexpr int64_t kMaxPngTextBytes = 1 << 20;  // of one text; a picture's own is some kB

/// A PNG file in memory with its text before the pixels, as iTXt chunks: the same arguments give the same bytes.
///
/// text     keywords of 1 to 79 printable ASCII characters without a space at an end or two in a row; texts
///          without a zero byte, at most kMaxPngTextBytes
/// throws   Error(kUsage) on another keyword or text, naming the keyword
std::vector<uint8_t> encode_png(const Image& image, const PngText& text);

/// encode_png to a file, atomically. throws  Error(kIo) too
void write_png(const std::string& path, const Image& image, const PngText& text);

/// The text that stands before a PNG file's pixels (tEXt, zTXt, iTXt), as UTF-8; of a keyword's several texts the first.
/// Nothing for a file of another format. Chunks past the 64th, texts of more than kMaxPngTextBytes once inflated and chunks
/// that are not sound are passed over. What it gives is somebody else's text: not to be trusted.
///
/// name     stands for the file in messages
/// throws   Error(kBadData) when the file is truncated before its pixels
PngText read_png_text(const uint8_t* data, size_t bytes, const std::string& name);

}  // namespace lexel
