#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

namespace lexel {

/// A picture as read from a file: upright (EXIF orientation applied), 8 bits, sRGB assumed.
struct Image {
  at::Tensor pixels;  // (H, W, 3) uint8, contiguous, CPU
  int64_t height() const { return pixels.size(0); }
  int64_t width() const { return pixels.size(1); }
};

/// A picture with transparency: straight alpha (not multiplied into the colours).
struct RgbaImage {
  at::Tensor pixels;  // (H, W, 4) uint8, contiguous, CPU
  int64_t height() const { return pixels.size(0); }
  int64_t width() const { return pixels.size(1); }
};

/// What a file's header says, before any pixel is decoded.
struct ImageHeader {
  std::string format;  // "jpeg", "png", "webp", "bmp", "gif", "pnm"
  int64_t width = 0;   // pixels, as stored (before the EXIF orientation)
  int64_t height = 0;
};

inline constexpr int64_t kMaxImagePixels =
    256'000'000;  // 16000 x 16000; refused beyond, before memory is taken

/// Reads a picture. Grayscale is repeated over the channels, 16 bits become 8, alpha is blended on
/// white, CMYK is converted, an ICC profile is ignored (see README), animation gives its first frame.
///
/// throws   Error(kIo) cannot be opened; Error(kBadData) empty, truncated, not a picture, more than
///          kMaxImagePixels; the message starts with the path
Image read_image(const std::string& path);

/// The same from memory; `name` stands for the path in messages.
Image decode_image(const uint8_t* data, size_t bytes, const std::string& name);

/// The same with its alpha, where the format has one (PNG); what has none is opaque (255).
RgbaImage decode_rgba(const uint8_t* data, size_t bytes, const std::string& name);

/// The header only. throws as decode_image
ImageHeader read_image_header(const uint8_t* data, size_t bytes, const std::string& name);

/// Writes by the extension: .png, .jpg/.jpeg (quality 95), .webp (lossless). Written to a temporary file,
/// checked, renamed: the path holds the whole picture or what it held before.
///
/// throws   Error(kUsage) unknown extension; Error(kIo) cannot be written (full disk included)
void write_image(const std::string& path, const Image& image);

/// As a file in memory; format "png", "jpeg" or "webp".
std::vector<uint8_t> encode_image(const Image& image, const std::string& format);

/// As a PNG file in memory, alpha kept.
std::vector<uint8_t> encode_rgba(const RgbaImage& image);

/// (3, H, W) float32 in [0, 1] <-> 8 bits (values are clamped, then rounded to nearest).
at::Tensor to_tensor(const Image& image);
Image to_image(const at::Tensor& chw);

}  // namespace lexel
