#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/eval/detector/detector.h"

namespace lexel::eval {

/// One thing that was found.
struct FoundThing {
  std::string name;
  double score = 0;     // P(a middle lies here) P(it is this thing), 0 to 1
  std::string colour;   // the likeliest hue: means something of tinted things only
  double x = 0, y = 0;  // middle, pixels
  double side = 0;      // longer side, pixels
};

/// What the detector sees in one picture.
struct Sight {
  std::vector<FoundThing> things;        // best first
  std::vector<std::string> backgrounds;  // the names that apply: mostly one, a colour or "photo"
};

/// Reads things off the maps: cells whose chance of a middle is the largest of 3 x 3 and whose score reaches
/// `threshold`, without those that lie within half a side of a better one.
///
/// maps       of detect(), any number of pictures
/// threshold  config.threshold, or another one while it is chosen
std::vector<Sight> read_maps(const DetectorMaps& maps, const DetectorConfig& config,
                             double threshold);

/// detect() and read_maps() at the detector's own threshold, without gradient.
///
/// images   (B, 3, S, S) float32 in [0, 1], any B
std::vector<Sight> look(const Detector& detector, const at::Tensor& images);

}  // namespace lexel::eval
