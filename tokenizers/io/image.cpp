#include "tokenizers/io/image.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/round.h>
#include <algorithm>
#include <cctype>
#include <cstring>
#include <libexif/exif-data.h>
#include <memory>
#include <string_view>

#include "kernels/check.h"
#include "tokenizers/io/atomic_file.h"
#include "tokenizers/io/codecs.h"

namespace lexel {
namespace codecs {

void check_size(const std::string& name, int64_t width, int64_t height) {
  check(width > 0 && height > 0, ErrorKind::kBadData, name, ": the header says ", width, " x ",
        height, " pixels");
  check(width <= kMaxImagePixels / height, ErrorKind::kBadData, name, ": the header says ", width,
        " x ", height, " pixels, more than the ", kMaxImagePixels, " allowed");
}

Image empty_image(int64_t width, int64_t height) {
  return {at::empty({height, width, 3}, at::kByte)};  // (H, W, 3)
}

void blend_on_white(const uint8_t* rgba, uint8_t* rgb, int64_t pixels) {
  for (int64_t i = 0; i < pixels; ++i, rgba += 4, rgb += 3) {
    const int alpha = rgba[3];
    for (int c = 0; c < 3; ++c) {
      rgb[c] = static_cast<uint8_t>((rgba[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
}

int exif_orientation(const uint8_t* data, size_t bytes) {
  if (bytes < 8 || bytes > 65536) return 1;
  static constexpr char kPrefix[] = "Exif\0";  // and the literal's own zero: six bytes
  std::vector<uint8_t> block;
  if (std::memcmp(data, kPrefix, 6) != 0) block.assign(kPrefix, kPrefix + 6);
  block.insert(block.end(), data, data + bytes);
  const std::unique_ptr<ExifData, decltype(&exif_data_unref)> exif(exif_data_new(),
                                                                   &exif_data_unref);
  exif_data_unset_option(exif.get(), EXIF_DATA_OPTION_FOLLOW_SPECIFICATION);
  exif_data_load_data(exif.get(), block.data(), static_cast<unsigned>(block.size()));
  const ExifEntry* entry = exif_data_get_entry(exif.get(), EXIF_TAG_ORIENTATION);
  if (!entry || entry->format != EXIF_FORMAT_SHORT || entry->size < 2) return 1;
  const int orientation = exif_get_short(entry->data, exif_data_get_byte_order(exif.get()));
  return orientation >= 1 && orientation <= 8 ? orientation : 1;
}

at::Tensor upright(const at::Tensor& pixels, int orientation) {
  // Orientations 5..8 have rows and columns exchanged; then what is left is a flip of one or both.
  const at::Tensor turned = orientation >= 5 ? pixels.transpose(0, 1) : pixels;
  switch (orientation) {
    case 2:
    case 6:
      return turned.flip({1}).contiguous();
    case 3:
    case 7:
      return turned.flip({0, 1}).contiguous();
    case 4:
    case 8:
      return turned.flip({0}).contiguous();
    default:
      return turned.contiguous();
  }
}

}  // namespace codecs

namespace {

constexpr int64_t kMaxFileBytes = 1LL << 30;

// The format by the first bytes; the name of a file proves nothing.
std::string sniff(const codecs::Encoded& from) {
  check(from.bytes > 0, ErrorKind::kBadData, from.name, ": is empty");
  const std::string_view start(reinterpret_cast<const char*>(from.data),
                               std::min<size_t>(from.bytes, 16));
  if (start.starts_with("\xff\xd8\xff")) return "jpeg";
  if (start.starts_with("\x89PNG\r\n\x1a\n")) return "png";
  if (start.size() >= 12 && start.starts_with("RIFF") && start.substr(8, 4) == "WEBP")
    return "webp";
  if (start.starts_with("GIF87a") || start.starts_with("GIF89a")) return "gif";
  if (start.starts_with("BM")) return "bmp";
  if (start.starts_with("P5") || start.starts_with("P6")) return "pnm";
  fail(ErrorKind::kBadData, from.name,
       ": is not a picture (JPEG, PNG, WebP, GIF, BMP, PGM or PPM)");
}

std::string format_of_extension(const std::string& path) {
  const size_t dot = path.find_last_of("./");
  std::string extension = dot == std::string::npos || path[dot] == '/' ? "" : path.substr(dot + 1);
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (extension == "jpg" || extension == "jpeg") return "jpeg";
  if (extension == "png" || extension == "webp") return extension;
  fail(ErrorKind::kUsage, path, ": expected a name that ends in .png, .jpg, .jpeg or .webp");
}

void check_pixels(const at::Tensor& pixels, int64_t channels, const char* function) {
  check_arg(pixels.defined() && pixels.dim() == 3 && pixels.size(2) == channels &&
                pixels.numel() > 0 && pixels.scalar_type() == at::kByte &&
                pixels.device().is_cpu() && pixels.is_contiguous(),
            function, "expected pixels (H, W, ", channels, ") uint8, contiguous, on the CPU");
}

}  // namespace

Image read_image(const std::string& path) {
  const std::vector<uint8_t> data = read_file(path, kMaxFileBytes);
  return decode_image(data.data(), data.size(), path);
}

Image decode_image(const uint8_t* data, size_t bytes, const std::string& name) {
  const codecs::Encoded from{data, bytes, name};
  const std::string format = sniff(from);
  if (format == "jpeg") return codecs::decode_jpeg(from);
  if (format == "png") return codecs::decode_png(from);
  if (format == "webp") return codecs::decode_webp(from);
  return codecs::decode_stb(from, format);
}

RgbaImage decode_rgba(const uint8_t* data, size_t bytes, const std::string& name) {
  const codecs::Encoded from{data, bytes, name};
  if (sniff(from) == "png") return codecs::decode_png_rgba(from);
  const at::Tensor rgb = decode_image(data, bytes, name).pixels;
  return {at::cat({rgb, at::full_like(rgb.narrow(2, 0, 1), 255)}, 2)};  // (H, W, 4)
}

ImageHeader read_image_header(const uint8_t* data, size_t bytes, const std::string& name) {
  const codecs::Encoded from{data, bytes, name};
  const std::string format = sniff(from);
  if (format == "jpeg") return codecs::jpeg_header(from);
  if (format == "png") return codecs::png_header(from);
  if (format == "webp") return codecs::webp_header(from);
  return codecs::stb_header(from, format);
}

void write_image(const std::string& path, const Image& image) {
  const std::vector<uint8_t> data = encode_image(image, format_of_extension(path));
  AtomicFile file(path);
  file.write(data.data(), data.size());
  file.commit();
}

std::vector<uint8_t> encode_image(const Image& image, const std::string& format) {
  check_pixels(image.pixels, 3, "encode_image");
  if (format == "png") return codecs::encode_png(image);
  if (format == "jpeg") return codecs::encode_jpeg(image);
  if (format == "webp") return codecs::encode_webp(image);
  fail(ErrorKind::kUsage, "encode_image: expected png, jpeg or webp, got ", format);
}

std::vector<uint8_t> encode_rgba(const RgbaImage& image) {
  check_pixels(image.pixels, 4, "encode_rgba");
  return codecs::encode_png_rgba(image);
}

at::Tensor to_tensor(const Image& image) {
  check_pixels(image.pixels, 3, "to_tensor");
  return image.pixels.permute({2, 0, 1})
      .to(at::kFloat, false, true, at::MemoryFormat::Contiguous)
      .div_(255);  // (3, H, W)
}

Image to_image(const at::Tensor& chw) {
  check_arg(chw.dim() == 3 && chw.size(0) == 3 && chw.is_floating_point(), "to_image",
            "expected (3, H, W) of floating point, got ", chw.sizes(), " ", chw.scalar_type());
  const at::Tensor levels =
      at::nan_to_num(chw.detach().to(at::kCPU, at::kFloat)).clamp(0, 1).mul_(255).round_();
  return {levels.permute({1, 2, 0}).to(at::kByte).contiguous()};  // (H, W, 3)
}

}  // namespace lexel
