#pragma once

#include <ATen/ops/zeros.h>
#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::tests {

/// A disc in one colour on nothing, `margin` empty pixels around it.
inline RgbaImage made_disc(int64_t width, int64_t height, int64_t margin, uint8_t red,
                           uint8_t green, uint8_t blue) {
  const int64_t rows = height + 2 * margin, columns = width + 2 * margin;
  RgbaImage image{at::zeros({rows, columns, 4}, at::kByte)};
  uint8_t* out = image.pixels.data_ptr<uint8_t>();
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x, out += 4) {
      const double dx = (static_cast<double>(x - margin) + 0.5) / static_cast<double>(width) - 0.5;
      const double dy = (static_cast<double>(y - margin) + 0.5) / static_cast<double>(height) - 0.5;
      if (dx * dx + dy * dy > 0.25) continue;
      out[0] = red, out[1] = green, out[2] = blue, out[3] = 255;
    }
  }
  return image;
}

inline void add_sprite(TarWriter& tar, const std::string& key, const RgbaImage& picture,
                       const std::string& json) {
  const std::vector<uint8_t> png = encode_rgba(picture);
  tar.add(key + ".png", png.data(), png.size());
  tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
}

inline std::string sprite_json(const std::string& name, const std::string& plural,
                               const std::string& drawing, bool tintable) {
  return "{\"name\": \"" + name + "\", \"plural\": \"" + plural + "\", \"drawing\": \"" + drawing +
         "\", \"tintable\": " + (tintable ? "true" : "false") + "}";
}

/// `things` things "thing a", "thing b" ... with two drawings each; every third can be tinted.
inline void write_made_sprites(const std::string& path, int64_t things) {
  TarWriter tar(path);
  for (int64_t i = 0; i < things; ++i) {
    const std::string name =
        std::string("thing ") + static_cast<char>('a' + i / 26) + static_cast<char>('a' + i % 26);
    const auto level = [&](int64_t step) { return static_cast<uint8_t>(step * (i + 1) % 256); };
    add_sprite(tar, "first-" + std::to_string(i),
               made_disc(40 + i % 7, 30, 4, level(40), level(90), level(23)),
               sprite_json(name, name + "s", "first", i % 3 == 0));
    add_sprite(tar, "second-" + std::to_string(i),
               made_disc(24, 60 - i % 5, 0, level(71), level(15), level(130)),
               sprite_json(name, name + "s", "second", i % 3 == 0));
  }
  tar.close();
}

}  // namespace lexel::tests
