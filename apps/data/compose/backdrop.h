#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/data/compose/scene.h"
#include "tokenizers/io/image.h"

namespace lexel::data {

/// Photos for backgrounds: of each the middle, cut and scaled to the canvas, always the same part. A generator
/// learns a few of them; it would never learn random crops.
struct Photos {
  struct Photo {
    std::string name;
    Image picture;  // (canvas, canvas, 3)
  };
  std::vector<Photo> photos;
  std::string fingerprint;  // SHA-256 over names and encoded files, hex

  /// inputs   tars, folders or files of pictures; none gives no photos
  /// most     so many of them are used, spread evenly over the inputs
  /// throws   Error(kIo); Error(kBadData) naming the member; no picture at all
  static Photos read(const std::vector<std::string>& inputs, int64_t most, int64_t canvas);
};

/// A canvas filled with a background, (canvas, canvas, 3). The colours are those of background_colours();
/// gradients run from the top to the bottom.
Image paint_background(const Background& background, const Photos& photos, int64_t canvas);

}  // namespace lexel::data
