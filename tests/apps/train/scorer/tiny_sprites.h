#pragma once

#include <ATen/ops/full.h>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/data/compose/composer.h"
#include "tokenizers/io/image.h"
#include "tokenizers/io/picture_source.h"

namespace lexel::tests {

/// A sprite tar of six things: discs, bars and corners of one colour each.
inline void write_sprites(const std::string& path) {
  struct Kind {
    const char* name;
    uint8_t red, green, blue;
    int shape;
  };
  const std::vector<Kind> kinds = {{"apple", 220, 20, 20, 0},  {"book", 20, 20, 220, 1},
                                   {"clover", 10, 160, 20, 2}, {"drum", 240, 200, 0, 0},
                                   {"egg", 250, 160, 200, 1},  {"flag", 0, 0, 0, 2}};
  TarWriter tar(path);
  for (const Kind& kind : kinds) {
    RgbaImage image{at::full({24, 24, 4}, 0, at::kByte)};
    uint8_t* p = image.pixels.mutable_data_ptr<uint8_t>();
    for (int y = 0; y < 24; ++y) {
      for (int x = 0; x < 24; ++x, p += 4) {
        const bool disc = (x - 12) * (x - 12) + (y - 12) * (y - 12) < 140;
        const bool bar = x > 6 && x < 18, corner = x + y < 24;
        if (!(kind.shape == 0 ? disc : kind.shape == 1 ? bar : corner)) continue;
        p[0] = kind.red;
        p[1] = kind.green;
        p[2] = kind.blue;
        p[3] = 255;
      }
    }
    const std::vector<uint8_t> png = encode_rgba(image);
    const std::string name = kind.name;
    const std::string json = nlohmann::json{
        {"name", name},
        {"plural", name + "s"},
        {"drawing", "made"},
        {"tintable", false}}.dump();
    tar.add(name + ".png", png.data(), png.size());
    tar.add(name + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
  }
  tar.close();
}

/// Scenes of 32 pixels of them.
inline data::ComposeConfig tiny_scenes() {
  data::ComposeConfig config;
  config.canvas = 32;
  config.grid = 2;
  config.sizes = {8, 12, 16, 24};
  return config;
}

}  // namespace lexel::tests
