#include "apps/data/compose/paint.h"

#include <algorithm>
#include <cmath>

namespace lexel::data {
namespace {

// Rec. 601 luma in [0, 1].
double luminance(const uint8_t* rgb) {
  return (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255.0;
}

Rgb tinted(const uint8_t* rgb, double brightness, const Rgb& tint) {
  const double level = luminance(rgb);
  Rgb result;
  if (level <= brightness) {
    for (size_t c = 0; c < 3; ++c)
      result[c] = static_cast<uint8_t>(std::lround(tint[c] * level / brightness));
  } else {
    const double white = 0.8 * (level - brightness) / (1.0 - brightness);
    for (size_t c = 0; c < 3; ++c)
      result[c] = static_cast<uint8_t>(std::lround(tint[c] + (255 - tint[c]) * white));
  }
  return result;
}

}  // namespace

ScaledSprite::ScaledSprite(const RgbaImage& picture)
    : width(picture.width()), height(picture.height()) {
  const uint8_t* from = picture.pixels.data_ptr<uint8_t>();
  rgba.assign(from, from + picture.pixels.numel());
  double weight = 0.0, light = 0.0;
  std::array<double, 3> sum{};
  for (size_t i = 0; i < rgba.size(); i += 4) {
    const double alpha = rgba[i + 3];
    weight += alpha;
    light += alpha * luminance(&rgba[i]);
    for (size_t c = 0; c < 3; ++c) sum[c] += alpha * rgba[i + c];
  }
  for (size_t c = 0; c < 3; ++c) mean[c] = static_cast<uint8_t>(std::lround(sum[c] / weight));
  brightness = std::clamp(light / weight, 0.05, 0.95);
}

PixelBox paint_sprite(const ScaledSprite& sprite, int64_t left, int64_t top,
                      const std::optional<Rgb>& tint, Image& canvas) {
  const uint8_t* from = sprite.rgba.data();
  for (int64_t y = 0; y < sprite.height; ++y) {
    uint8_t* to = canvas.pixels.data_ptr<uint8_t>() + 3 * ((top + y) * canvas.width() + left);
    for (int64_t x = 0; x < sprite.width; ++x, from += 4, to += 3) {
      const int alpha = from[3];
      if (alpha == 0) continue;
      const Rgb colour =
          tint ? tinted(from, sprite.brightness, *tint) : Rgb{from[0], from[1], from[2]};
      for (size_t c = 0; c < 3; ++c)
        to[c] = static_cast<uint8_t>((colour[c] * alpha + to[c] * (255 - alpha) + 127) / 255);
    }
  }
  return {left, top, sprite.width, sprite.height};
}

}  // namespace lexel::data
