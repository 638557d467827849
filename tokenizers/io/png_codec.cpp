#include <ATen/ops/empty.h>
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <png.h>
#include <span>

#include "kernels/check.h"
#include "tokenizers/io/codecs.h"
#include "tokenizers/io/png_text.h"

namespace lexel::codecs {
namespace {

constexpr png_uint_32 kMaxTextChunks = 64;
constexpr png_byte kTextChunks[] = "tEXt\0zTXt\0iTXt";  // names of five bytes

// libpng is C: its errors leave by longjmp, so nothing with a destructor lives in the frames between.
struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const uint8_t* next = nullptr;
  size_t left = 0;
  char message[128] = "is truncated";

  // Text is kept within bounds where it is wanted, and never inflated where it is not.
  Decoder(const Encoded& from, bool with_text) : next(from.data), left(from.bytes) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png) info = png_create_info_struct(png);
    check(info != nullptr, ErrorKind::kInternal, "libpng: out of memory");
    png_set_read_fn(png, this, read);
    png_set_user_limits(png, kMaxImagePixels,
                        kMaxImagePixels);  // the area is checked after the header
    if (with_text) {
      png_set_chunk_cache_max(png, kMaxTextChunks);
      png_set_chunk_malloc_max(png, kMaxPngTextBytes);
    } else {
      png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, kTextChunks, 3);
    }
  }
  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }

  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto* self = static_cast<Decoder*>(png_get_error_ptr(png));
    std::snprintf(self->message, sizeof self->message, "%s", message);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void read(png_structp png, png_bytep to, size_t count) {
    auto* self = static_cast<Decoder*>(png_get_io_ptr(png));
    if (count > self->left) png_error(png, "is truncated");
    std::memcpy(to, self->next, count);
    self->next += count;
    self->left -= count;
  }

  bool read_header() {
    if (setjmp(png_jmpbuf(png))) return false;
    png_read_info(png, info);
    return true;
  }

  // After this every row is RGBA, 8 bits. Returns the number of passes, 0 on failure.
  int start() {
    if (setjmp(png_jmpbuf(png))) return 0;
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    png_set_add_alpha(png, 0xFF, PNG_FILLER_AFTER);
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return passes;
  }

  bool read_row(uint8_t* row) {
    if (setjmp(png_jmpbuf(png))) return false;
    png_read_row(png, row, nullptr);
    return true;
  }

  bool finish() {
    if (setjmp(png_jmpbuf(png))) return false;
    png_read_end(png, info);
    return true;
  }

  // What stands before the pixels, as (keyword, text) with libpng's kind of compression.
  std::span<const png_text> text() const {
    png_textp first = nullptr;
    int count = 0;
    png_get_text(png, info, &first, &count);
    return {first, static_cast<size_t>(std::max(count, 0))};
  }

  int orientation() {
    png_bytep exif = nullptr;
    png_uint_32 bytes = 0;
    return png_get_eXIf_1(png, info, &bytes, &exif) ? exif_orientation(exif, bytes) : 1;
  }

  [[noreturn]] void report(const Encoded& from) const {
    fail(ErrorKind::kBadData, from.name,
         message[0] == 'i' ? ": " : ": is not a sound PNG file: ", message);
  }
};

// Gives each row of RGBA, top to bottom, to take(y, row, header); returns the orientation.
template <class Take>
int decode_rows(const Encoded& from, const Take& take) {
  const ImageHeader header = png_header(from);
  check_size(from.name, header.width, header.height);
  Decoder decoder(from, /*with_text=*/false);
  if (!decoder.read_header()) decoder.report(from);
  const int passes = decoder.start();
  if (passes == 0) decoder.report(from);
  // An interlaced file fills the picture pass by pass and needs all rows at once, others only one.
  const size_t stride = static_cast<size_t>(4 * header.width);
  const bool whole = passes > 1;
  const std::unique_ptr<uint8_t[]> rgba(
      new uint8_t[stride * static_cast<size_t>(whole ? header.height : 1)]);
  for (int pass = 0; pass < passes; ++pass) {
    for (int64_t y = 0; y < header.height; ++y) {
      uint8_t* row = rgba.get() + (whole ? stride * static_cast<size_t>(y) : 0);
      if (!decoder.read_row(row)) decoder.report(from);
      if (pass + 1 == passes) take(y, row, header);
    }
  }
  if (!decoder.finish()) decoder.report(from);
  return decoder.orientation();
}

}  // namespace

ImageHeader png_header(const Encoded& from) {
  // Signature 8, length 4, "IHDR", width 4, height 4: always the first chunk.
  check(from.bytes >= 24, ErrorKind::kBadData, from.name, ": is truncated");
  check(std::memcmp(from.data + 12, "IHDR", 4) == 0, ErrorKind::kBadData, from.name,
        ": is not a sound PNG file: no IHDR");
  return {"png", png_get_uint_32(from.data + 16), png_get_uint_32(from.data + 20)};
}

Image decode_png(const Encoded& from) {
  Image image;
  const auto blend = [&](int64_t y, const uint8_t* row, const ImageHeader& header) {
    if (!image.pixels.defined()) image = empty_image(header.width, header.height);
    uint8_t* to = image.pixels.data_ptr<uint8_t>() + 3 * header.width * y;
    blend_on_white(row, to, header.width);
  };
  const int orientation = decode_rows(from, blend);
  return {upright(image.pixels, orientation)};
}

RgbaImage decode_png_rgba(const Encoded& from) {
  RgbaImage image;
  const auto copy = [&](int64_t y, const uint8_t* row, const ImageHeader& header) {
    if (!image.pixels.defined())
      image.pixels = at::empty({header.height, header.width, 4}, at::kByte);  // (H, W, 4)
    uint8_t* to = image.pixels.data_ptr<uint8_t>() + 4 * header.width * y;
    std::copy_n(row, 4 * header.width, to);
  };
  const int orientation = decode_rows(from, copy);
  return {upright(image.pixels, orientation)};
}

std::vector<RawText> png_raw_text(const Encoded& from) {
  Decoder decoder(from, /*with_text=*/true);
  if (!decoder.read_header()) decoder.report(from);
  std::vector<RawText> texts;
  for (const png_text& text : decoder.text()) {
    const bool international = text.compression >= PNG_ITXT_COMPRESSION_NONE;
    texts.push_back({text.key,
                     {text.text, international ? text.itxt_length : text.text_length},
                     international});
  }
  return texts;
}

namespace {

std::vector<uint8_t> encode(const at::Tensor& pixels, png_uint_32 format) {
  png_image job = {};
  job.version = PNG_IMAGE_VERSION;
  job.width = static_cast<png_uint_32>(pixels.size(1));
  job.height = static_cast<png_uint_32>(pixels.size(0));
  job.format = format;
  std::vector<uint8_t> data(PNG_IMAGE_PNG_SIZE_MAX(job));
  png_alloc_size_t bytes = data.size();
  const bool done = png_image_write_to_memory(&job, data.data(), &bytes, 0,
                                              pixels.data_ptr<uint8_t>(), 0, nullptr);
  check(done, ErrorKind::kInternal, "PNG encoder: ", job.message);
  data.resize(bytes);
  return data;
}

}  // namespace

std::vector<uint8_t> encode_png(const Image& image) { return encode(image.pixels, PNG_FORMAT_RGB); }

std::vector<uint8_t> encode_png_rgba(const RgbaImage& image) {
  return encode(image.pixels, PNG_FORMAT_RGBA);
}

}  // namespace lexel::codecs
