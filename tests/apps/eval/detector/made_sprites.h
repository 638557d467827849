#pragma once

#include <ATen/ops/zeros.h>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::tests {

/// A drawing of 60 x 60 pixels: a disc, a square, a bar or a cross of one colour, clear around it.
inline RgbaImage made_sprite(const std::string& shape, std::array<uint8_t, 3> colour) {
  constexpr int64_t kSide = 60;
  RgbaImage sprite{at::zeros({kSide, kSide, 4}, at::kByte)};
  auto pixels = sprite.pixels.accessor<uint8_t, 3>();
  for (int64_t y = 0; y < kSide; ++y) {
    for (int64_t x = 0; x < kSide; ++x) {
      const int64_t dx = 2 * x - kSide + 1, dy = 2 * y - kSide + 1;
      const bool inside = shape == "disc"    ? dx * dx + dy * dy < kSide * kSide
                          : shape == "cross" ? std::min(std::abs(dx), std::abs(dy)) < kSide / 4
                          : shape == "bar"   ? std::abs(dy) < kSide / 3
                                             : true;
      if (!inside) continue;
      for (int64_t c = 0; c < 3; ++c) pixels[y][x][c] = colour[static_cast<size_t>(c)];
      pixels[y][x][3] = 255;
    }
  }
  return sprite;
}

/// A tar as `lexel data fetch sprites` leaves it, of four things with a drawing each; the disc can be tinted.
inline std::string made_sprites(const std::filesystem::path& path) {
  const struct {
    const char* name;
    std::array<uint8_t, 3> colour;
  } things[] = {{"disc", {200, 60, 60}},
                {"square", {30, 30, 90}},
                {"cross", {20, 120, 20}},
                {"bar", {120, 20, 120}}};
  TarWriter tar(path.string());
  for (const auto& thing : things) {
    const std::string name = thing.name;
    const std::vector<uint8_t> png = encode_rgba(made_sprite(name, thing.colour));
    tar.add(name + ".png", png.data(), png.size());
    const std::string json = nlohmann::json({{"name", name},
                                             {"plural", name + "s"},
                                             {"drawing", "made"},
                                             {"tintable", name == "disc"}})
                                 .dump();
    tar.add(name + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
  }
  tar.close();
  return path.string();
}

}  // namespace lexel::tests
