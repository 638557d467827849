#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/parameters.h"
#include "vqgan/convolution.h"

namespace lexel::eval {

/// A convolutional net that finds the things of composed scenes: the judge of `lexel eval generator`. It is no
/// part of the library.
struct DetectorConfig {
  int64_t image_size = 128;  // pixels, square, a multiple of 16
  // Channels and residual blocks at a quarter, an eighth and a sixteenth of the picture's side.
  int64_t fine_width = 48, middle_width = 96, coarse_width = 160;
  int64_t fine_blocks = 1, middle_blocks = 2, coarse_blocks = 2;
  int64_t hidden = 192;    // channels before the answers
  double threshold = 0.4;  // score from which a peak is a thing, chosen on training-side scenes
  // Names in the order of the answers, with "|" between them.
  std::string things;       // singular, sorted: "airplane|alien|..."
  std::string colours;      // of tinted things: "red|orange|..."
  std::string backgrounds;  // colours of plain and gradient ones, and "photo"
};

/// Calls visitor(name, field) once for each field.
template <class AnyDetectorConfig, class Visitor>
void visit_fields(AnyDetectorConfig& c, Visitor&& visitor) {
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("image_size", c.image_size);
  visit("fine_width", c.fine_width);
  visit("middle_width", c.middle_width);
  visit("coarse_width", c.coarse_width);
  visit("fine_blocks", c.fine_blocks);
  visit("middle_blocks", c.middle_blocks);
  visit("coarse_blocks", c.coarse_blocks);
  visit("hidden", c.hidden);
  visit("threshold", c.threshold);
  visit("things", c.things);
  visit("colours", c.colours);
  visit("backgrounds", c.backgrounds);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const DetectorConfig& config);

/// "a|b|c" to {"a", "b", "c"} and back.
std::vector<std::string> split_names(const std::string& names);
std::string join_names(const std::vector<std::string>& names);

inline constexpr int64_t kDetectorCell = 8;  // pixels a side of a cell of the answers

/// A convolution whose windows do not overlap: stride = kernel.
struct Projection {
  at::Tensor weight;  // (out, in, k, k)
  at::Tensor bias;    // (out)
};

struct Detector {
  DetectorConfig config;
  Projection stem;  // k = 4
  std::vector<vqgan::ResidualBlock> fine;
  Projection halve;  // k = 2
  std::vector<vqgan::ResidualBlock> middle;
  Projection quarter;  // k = 2
  std::vector<vqgan::ResidualBlock> coarse;
  Projection back;             // k = 1: the coarse map joins the middle one
  Projection hidden, answers;  // k = 1
  at::Tensor background;       // (names, coarse_width)
  at::Tensor background_bias;  // (names)
};

/// A fresh detector: float32 on `device`, its values given by `seed` alone.
/// throws   Error(kUsage) as validate(config)
Detector make_detector(const DetectorConfig& config, uint64_t seed, at::Device device);

/// A detector without memory: parameters() gives names and shapes, every tensor is undefined.
Detector detector_layout(const DetectorConfig& config);

/// Every tensor of the detector, in file order.
ParameterList parameters(Detector& detector);

/// What the net says of each cell, as logits. g = image_size / 8.
struct DetectorMaps {
  at::Tensor centre;      // (B, g, g): a thing's middle lies in this cell
  at::Tensor side;        // (B, g, g): log2(longer side of the thing / 32 pixels), no logit
  at::Tensor things;      // (B, things, g, g): which one, should there be one
  at::Tensor colours;     // (B, colours, g, g): its hue, should it be tinted
  at::Tensor background;  // (B, backgrounds): each name on its own
};

/// images   (B, 3, S, S) float32 in [0, 1]
/// returns  float32 maps, differentiable
/// throws   Error(kUsage) on another shape
DetectorMaps detect(const Detector& detector, const at::Tensor& images);

}  // namespace lexel::eval
