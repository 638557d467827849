#pragma once

#include <cstdint>
#include <vector>

namespace lexel::train {

/// 8-bit pixels of one picture at one scale: rows of RGB.
struct Pixels {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // height * width * 3
};

/// A rectangle in pixels of a picture; corners may lie between pixels.
struct Box {
  double left = 0, top = 0, width = 0, height = 0;
};

/// One axis of a resize as a sparse matrix: output i is the sum over t of weights[i * taps + t] times input
/// first[i] + t.
struct ResizeWeights {
  int64_t taps = 0;
  std::vector<int64_t> first;
  std::vector<float> weights;
};

/// Antialiased bicubic weights (a = -0.5, widened by the scale when shrinking, as Pillow's) of `outputs`
/// samples over [begin, begin + length) of an axis of `inputs` pixels; `mirrored` turns them around.
ResizeWeights resize_weights(double begin, double length, int64_t inputs, int64_t outputs,
                             bool mirrored);

/// The part `box` of a picture as (3, size, size) numbers in [0, 1]: what the model sees. Uses no ATen, so
/// that loader threads start no thread pools of their own.
///
/// out      3 * height * width floats
void resample(const Pixels& pixels, const Box& box, bool mirrored, int64_t height, int64_t width,
              float* out);

/// The whole picture scaled to another size, 8 bits.
Pixels scaled(const Pixels& pixels, int64_t height, int64_t width);

/// Half the size by averages of 2 x 2 pixels (an odd last row or column is left out).
Pixels halved(const Pixels& pixels);

}  // namespace lexel::train
