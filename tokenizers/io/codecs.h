#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel::codecs {

/// An encoded picture in memory, and the name for messages.
struct Encoded {
  const uint8_t* data;
  size_t bytes;
  const std::string& name;
};

// Each reads the header, checks it (check_size), then decodes. throws as decode_image (image.h).
ImageHeader jpeg_header(const Encoded& from);
ImageHeader png_header(const Encoded& from);
ImageHeader webp_header(const Encoded& from);
ImageHeader stb_header(const Encoded& from, const std::string& format);  // "bmp", "gif", "pnm"

Image decode_jpeg(const Encoded& from);
Image decode_png(const Encoded& from);
RgbaImage decode_png_rgba(const Encoded& from);
Image decode_webp(const Encoded& from);
Image decode_stb(const Encoded& from, const std::string& format);

/// A text chunk as it stands in a PNG file, inflated.
struct RawText {
  std::string keyword, text;
  bool international;  // said to be UTF-8; else Latin-1
};
std::vector<RawText> png_raw_text(const Encoded& from);

std::vector<uint8_t> encode_jpeg(const Image& image);
std::vector<uint8_t> encode_png(const Image& image);
std::vector<uint8_t> encode_png_rgba(const RgbaImage& image);
std::vector<uint8_t> encode_webp(const Image& image);

/// Error(kBadData) on an empty picture or one of more than kMaxImagePixels.
void check_size(const std::string& name, int64_t width, int64_t height);

/// (H, W, 3) uint8 without content; its memory is touched only as the decoder fills it.
Image empty_image(int64_t width, int64_t height);

/// Blends RGBA on white into RGB, `pixels` pixels.
void blend_on_white(const uint8_t* rgba, uint8_t* rgb, int64_t pixels);

/// The orientation 1..8 that an EXIF block says (with or without "Exif\0\0" before it); 1 when it says none.
int exif_orientation(const uint8_t* data, size_t bytes);

/// Turns (H, W, C) pixels upright, orientation as in EXIF (1 is upright).
at::Tensor upright(const at::Tensor& pixels, int orientation);

}  // namespace lexel::codecs
