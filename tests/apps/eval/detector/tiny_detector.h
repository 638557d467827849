#pragma once

#include "apps/eval/detector/detector.h"

namespace lexel::tests {

/// 32 pixels, a grid of 4 x 4: three things, two colours, three backgrounds.
inline eval::DetectorConfig tiny_detector_config() {
  eval::DetectorConfig config;
  config.image_size = 32;
  config.fine_width = 4;
  config.middle_width = 6;
  config.coarse_width = 8;
  config.fine_blocks = config.middle_blocks = config.coarse_blocks = 1;
  config.hidden = 10;
  config.things = "ball|cat|house";
  config.colours = "red|blue";
  config.backgrounds = "red|white|photo";
  return config;
}

}  // namespace lexel::tests
