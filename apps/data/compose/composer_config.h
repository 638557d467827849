#pragma once

#include <cstdint>

namespace lexel::data {

/// Longer sides of things in pixels. Captions call the first small and the last big; the two between, which may be
/// one, go unnamed.
struct ThingSizes {
  int64_t small = 40, low = 64, high = 64, large = 96;
};

/// What scenes look like. The shares of each group are weights: they need not sum to 1. The defaults make what a
/// small generator learns fastest: few sizes on the grid of the tokenizer's patches, exact colours, large things.
struct ComposeConfig {
  int64_t canvas = 128;  // side of the picture, pixels
  int64_t grid = 8;      // things stand on multiples of this many pixels; 1: anywhere
  ThingSizes sizes = {};
  double single = 0.60, count = 0.17, relation = 0.20, several = 0.03;  // kinds of scene
  double plain = 0.82, gradient = 0.13,
         photo = 0.05;  // backgrounds; without photos theirs goes to plain
  int64_t photos = 16;  // pictures used for backgrounds, spread evenly over those given
  double centred =
      0.6;  // chance that things stand where the caption alone says: in the middle, in line, in rows
  double tinted = 0.15;       // of the things that can be drawn in one hue
  double main_drawing = 0.9;  // chance of the last drawing of a thing by name ("noto")
  double say_size = 0.6, say_colour = 0.95, say_background = 0.75;  // chance that a caption does
  double synonyms = 0.2;  // chance of "little" for small, "over" for above, ...

  /// throws   Error(kUsage) naming the field
  void validate() const;
};

}  // namespace lexel::data
