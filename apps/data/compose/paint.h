#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "apps/data/compose/scene.h"
#include "tokenizers/io/image.h"

namespace lexel::data {

using Rgb = std::array<uint8_t, 3>;

/// A sprite at one size, ready to be drawn: plain bytes, so that threads that draw it touch no tensor.
struct ScaledSprite {
  int64_t width = 0, height = 0;  // pixels
  std::vector<uint8_t> rgba;      // straight alpha, rows from the top
  Rgb mean = {};                  // colour, weighted by alpha
  double brightness = 0.5;        // mean luminance in [0, 1], weighted by alpha

  explicit ScaledSprite(const RgbaImage& picture);
};

/// Draws a sprite with its top left corner at (left, top); it lies inside the canvas.
///
/// tint     draws it in this hue by luminance x colour: what has the sprite's mean luminance gets the colour
///          itself, what is darker goes to black, what is lighter towards white
/// returns  the box it covers
PixelBox paint_sprite(const ScaledSprite& sprite, int64_t left, int64_t top,
                      const std::optional<Rgb>& tint, Image& canvas);

}  // namespace lexel::data
