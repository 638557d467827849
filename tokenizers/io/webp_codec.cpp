#include <cstring>
#include <memory>
#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>

#include "kernels/check.h"
#include "tokenizers/io/codecs.h"

namespace lexel::codecs {
namespace {

WebPBitstreamFeatures features(const Encoded& from) {
  WebPBitstreamFeatures found = {};
  const VP8StatusCode status = WebPGetFeatures(from.data, from.bytes, &found);
  check(status != VP8_STATUS_NOT_ENOUGH_DATA, ErrorKind::kBadData, from.name, ": is truncated");
  check(status == VP8_STATUS_OK, ErrorKind::kBadData, from.name, ": is not a sound WebP file");
  return found;
}

// The EXIF chunk of the RIFF container. Chunks: name 4, size 4 (little endian), content, even length.
int orientation(const Encoded& from) {
  for (size_t at = 12; at + 8 <= from.bytes;) {
    const uint8_t* chunk = from.data + at;
    const size_t size =
        chunk[4] | chunk[5] << 8 | chunk[6] << 16 | static_cast<size_t>(chunk[7]) << 24;
    if (size > from.bytes - at - 8) return 1;
    if (std::memcmp(chunk, "EXIF", 4) == 0) return exif_orientation(chunk + 8, size);
    at += 8 + size + size % 2;
  }
  return 1;
}

Image decode_first_frame(const Encoded& from, const WebPBitstreamFeatures& header) {
  const WebPData data = {from.data, from.bytes};
  WebPAnimDecoderOptions options;
  WebPAnimDecoderOptionsInit(&options);
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(
      WebPAnimDecoderNew(&data, &options), &WebPAnimDecoderDelete);
  uint8_t* rgba = nullptr;
  int timestamp = 0;
  check(decoder && WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp), ErrorKind::kBadData,
        from.name, ": is not a sound WebP file, or truncated");
  Image image = empty_image(header.width, header.height);
  blend_on_white(rgba, image.pixels.data_ptr<uint8_t>(), image.pixels.numel() / 3);
  return image;
}

}  // namespace

ImageHeader webp_header(const Encoded& from) {
  const WebPBitstreamFeatures found = features(from);
  return {"webp", found.width, found.height};
}

Image decode_webp(const Encoded& from) {
  const WebPBitstreamFeatures header = features(from);
  check_size(from.name, header.width, header.height);
  if (header.has_animation) return decode_first_frame(from, header);
  Image image = empty_image(header.width, header.height);
  uint8_t* rgb = image.pixels.data_ptr<uint8_t>();
  const int64_t pixels = image.pixels.numel() / 3;
  bool done = false;
  if (header.has_alpha) {
    const size_t bytes = static_cast<size_t>(4 * pixels);
    const std::unique_ptr<uint8_t[]> rgba(new uint8_t[bytes]);
    done =
        WebPDecodeRGBAInto(from.data, from.bytes, rgba.get(), bytes, 4 * header.width) != nullptr;
    if (done) blend_on_white(rgba.get(), rgb, pixels);
  } else {
    done = WebPDecodeRGBInto(from.data, from.bytes, rgb, static_cast<size_t>(3 * pixels),
                             3 * header.width) != nullptr;
  }
  check(done, ErrorKind::kBadData, from.name, ": is not a sound WebP file, or truncated");
  return {upright(image.pixels, orientation(from))};
}

std::vector<uint8_t> encode_webp(const Image& image) {
  check(image.width() <= WEBP_MAX_DIMENSION && image.height() <= WEBP_MAX_DIMENSION,
        ErrorKind::kUsage, "a WebP file holds at most ", WEBP_MAX_DIMENSION, " pixels a side, got ",
        image.width(), " x ", image.height());
  uint8_t* data = nullptr;
  const int width = static_cast<int>(image.width()), height = static_cast<int>(image.height());
  const size_t bytes =
      WebPEncodeLosslessRGB(image.pixels.data_ptr<uint8_t>(), width, height, 3 * width, &data);
  const std::unique_ptr<uint8_t, decltype(&WebPFree)> owner(data, &WebPFree);
  check(bytes > 0, ErrorKind::kInternal, "WebP encoder: failed on ", width, " x ", height,
        " pixels");
  return {data, data + bytes};
}

}  // namespace lexel::codecs
