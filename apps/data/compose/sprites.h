#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel::data {

/// One drawing of a thing, cut to the box of its visible pixels.
struct Sprite {
  std::string drawing;  // "noto", "emojione"
  RgbaImage picture;    // as large as its source has it
};

/// A thing with all its drawings.
struct SpriteThing {
  std::string name, plural;
  bool tintable = false;  // may be drawn in one hue
  std::vector<Sprite> drawings;
};

/// Things of a tar made by `lexel data fetch sprites`, or of one like it: RGBA pictures, each with a JSON that
/// has name, plural, drawing and tintable. Sorted by name, drawings by drawing: the order of the tar does not
/// matter.
///
/// throws   Error(kIo); Error(kBadData) naming the member: no JSON, a key that is missing, no picture, nothing
///          visible in it, more than 1024 pixels a side, one name with two plurals; no thing at all
std::vector<SpriteThing> read_sprites(const std::string& tar);

/// The part of a picture inside the box of its visible pixels, those of alpha >= 16; fainter ones get alpha 0.
///
/// throws   Error(kBadData) when nothing is visible
RgbaImage visible_part(const RgbaImage& picture);

/// RGBA scaled so that its longer side has `side` pixels (antialiased, alpha premultiplied meanwhile); the
/// visible part of that.
///
/// side     1 to 4096 pixels
RgbaImage scaled_sprite(const RgbaImage& picture, int64_t side);

}  // namespace lexel::data
