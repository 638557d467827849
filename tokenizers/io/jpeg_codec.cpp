#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <cstdlib>
#include <cstring>
#include <jerror.h>
#include <jpeglib.h>
#include <memory>

#include "kernels/check.h"
#include "tokenizers/io/codecs.h"
#include "tokenizers/io/jpeg.h"

namespace lexel::codecs {
namespace {

constexpr int kQuality = 95;
constexpr int kMaxScans = 500;  // real progressive files have about ten; hostile ones burn hours

// libjpeg is C: its errors leave by longjmp, so nothing with a destructor lives in the frames between.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void escape(j_common_ptr info, const char* message) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  std::snprintf(manager->message, sizeof manager->message, "%s", message);
  std::longjmp(manager->escape, 1);
}

[[noreturn]] void on_error(j_common_ptr info) {
  char message[JMSG_LENGTH_MAX];
  info->err->format_message(info, message);
  escape(info, message);
}

// A file that ends early or is garbled decodes to gray with only a warning: refused here.
void on_message(j_common_ptr info, int level) {
  if (level != -1) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
      escape(info, "is truncated");
    case JWRN_HUFF_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL:
      on_error(info);
    default:
      return;
  }
}

// The memory source's own would make up an end-of-image mark, with a warning that some versions leave out.
boolean on_end_of_data(j_decompress_ptr info) {
  escape(reinterpret_cast<j_common_ptr>(info), "is truncated");
}

void on_progress(j_common_ptr info) {
  if (!info->is_decompressor) return;
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans)
    escape(info, "has too many scans");
}

void set_up(ErrorManager& manager) {
  jpeg_std_error(&manager.base);
  manager.base.error_exit = on_error;
  manager.base.emit_message = on_message;
}

struct Decoder {
  jpeg_decompress_struct info = {};
  ErrorManager manager = {};
  jpeg_progress_mgr progress = {};

  explicit Decoder() {
    set_up(manager);
    info.err = &manager.base;
    progress.progress_monitor = on_progress;
  }
  ~Decoder() { jpeg_destroy_decompress(&info); }

  bool read_header(const Encoded& from) {
    if (setjmp(manager.escape)) return false;
    jpeg_create_decompress(&info);
    info.progress = &progress;
    jpeg_mem_src(&info, from.data, from.bytes);
    info.src->fill_input_buffer = on_end_of_data;
    jpeg_save_markers(&info, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(&info, TRUE);
    return true;
  }

  bool start() {
    if (setjmp(manager.escape)) return false;
    const bool cmyk = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
    info.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info);
    return true;
  }

  // `stride` bytes from row to row.
  bool read_rows(uint8_t* rows, size_t stride) {
    if (setjmp(manager.escape)) return false;
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = rows + info.output_scanline * stride;
      jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    return true;
  }

  [[noreturn]] void report(const Encoded& from) const {
    const bool plain = std::strncmp(manager.message, "is ", 3) == 0 ||
                       std::strncmp(manager.message, "has ", 4) == 0;
    fail(ErrorKind::kBadData, from.name,
         plain ? ": " : ": is not a sound JPEG file: ", manager.message);
  }

  int orientation() const {
    for (const jpeg_marker_struct* m = info.marker_list; m; m = m->next) {
      if (m->data_length > 6 && std::memcmp(m->data, "Exif\0", 6) == 0) {
        return exif_orientation(m->data, m->data_length);
      }
    }
    return 1;
  }
};

// Adobe writes CMYK inverted (255 is no ink), others do not. Without a profile the plain product of
// the lights is as good as any.
void cmyk_to_rgb(const uint8_t* cmyk, bool inverted, uint8_t* rgb, int64_t pixels) {
  for (int64_t i = 0; i < pixels; ++i, cmyk += 4, rgb += 3) {
    const int flip = inverted ? 0 : 255;
    for (int c = 0; c < 3; ++c) {
      rgb[c] = static_cast<uint8_t>(((cmyk[c] ^ flip) * (cmyk[3] ^ flip) + 127) / 255);
    }
  }
}

struct Encoder {
  jpeg_compress_struct info = {};
  ErrorManager manager = {};
  unsigned char* data = nullptr;
  unsigned long bytes = 0;

  Encoder() {
    set_up(manager);
    info.err = &manager.base;
  }
  ~Encoder() {
    jpeg_destroy_compress(&info);
    std::free(data);
  }

  bool run(const uint8_t* pixels, unsigned width, unsigned height, int quality) {
    if (setjmp(manager.escape)) return false;
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &data, &bytes);
    info.image_width = width;
    info.image_height = height;
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, quality, TRUE);
    info.comp_info[0].h_samp_factor = info.comp_info[0].v_samp_factor =
        1;  // 4:4:4, colour stays sharp
    info.optimize_coding = TRUE;
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
      JSAMPROW row = const_cast<uint8_t*>(pixels) + size_t{3} * width * info.next_scanline;
      jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    return true;
  }
};

}  // namespace

ImageHeader jpeg_header(const Encoded& from) {
  Decoder decoder;
  if (!decoder.read_header(from)) decoder.report(from);
  return {"jpeg", decoder.info.image_width, decoder.info.image_height};
}

Image decode_jpeg(const Encoded& from) {
  Decoder decoder;
  if (!decoder.read_header(from)) decoder.report(from);
  const int64_t width = decoder.info.image_width, height = decoder.info.image_height;
  check_size(from.name, width, height);
  const int orientation = decoder.orientation();  // the markers are gone after the last row
  if (!decoder.start()) decoder.report(from);
  const bool cmyk = decoder.info.out_color_space == JCS_CMYK;
  Image image = empty_image(width, height);
  uint8_t* pixels = image.pixels.data_ptr<uint8_t>();
  if (cmyk) {
    const std::unique_ptr<uint8_t[]> rows(new uint8_t[static_cast<size_t>(4 * width * height)]);
    if (!decoder.read_rows(rows.get(), static_cast<size_t>(4 * width))) decoder.report(from);
    cmyk_to_rgb(rows.get(), decoder.info.saw_Adobe_marker, pixels, width * height);
  } else if (!decoder.read_rows(pixels, static_cast<size_t>(3 * width))) {
    decoder.report(from);
  }
  return {upright(image.pixels, orientation)};
}

std::vector<uint8_t> encode_jpeg(const Image& image) { return lexel::encode_jpeg(image, kQuality); }

}  // namespace lexel::codecs

std::vector<uint8_t> lexel::encode_jpeg(const Image& image, int quality) {
  check_arg(quality >= 1 && quality <= 100, "encode_jpeg", "expected a quality of 1..100, got ",
            quality);
  check(image.width() <= JPEG_MAX_DIMENSION && image.height() <= JPEG_MAX_DIMENSION,
        ErrorKind::kUsage, "a JPEG file holds at most ", JPEG_MAX_DIMENSION, " pixels a side, got ",
        image.width(), " x ", image.height());
  codecs::Encoder encoder;
  const bool done =
      encoder.run(image.pixels.data_ptr<uint8_t>(), static_cast<unsigned>(image.width()),
                  static_cast<unsigned>(image.height()), quality);
  check(done, ErrorKind::kInternal, "JPEG encoder: ", encoder.manager.message);
  return {encoder.data, encoder.data + encoder.bytes};
}
