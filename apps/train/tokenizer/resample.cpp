#include "apps/train/tokenizer/resample.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace lexel::train {
namespace {

/// Keys' cubic with a = -0.5, support [-2, 2].
double cubic(double x) {
  x = std::abs(x);
  if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
  if (x < 2.0) return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0;
  return 0.0;
}

/// Rows of the input that the box needs, resized along x: (rows, width, 3) float.
void resize_rows(const Pixels& pixels, int64_t first_row, int64_t rows, const ResizeWeights& x,
                 int64_t width, std::vector<float>& out) {
  out.resize(rows * width * 3);
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t* line = pixels.rgb.data() + (first_row + row) * pixels.width * 3;
    float* target = out.data() + row * width * 3;
    for (int64_t i = 0; i < width; ++i, target += 3) {
      const uint8_t* source = line + x.first[i] * 3;
      const float* weights = x.weights.data() + i * x.taps;
      float red = 0, green = 0, blue = 0;
      for (int64_t t = 0; t < x.taps; ++t, source += 3) {
        red += weights[t] * float(source[0]);
        green += weights[t] * float(source[1]);
        blue += weights[t] * float(source[2]);
      }
      target[0] = red;
      target[1] = green;
      target[2] = blue;
    }
  }
}

/// One output row (width * 3 floats, values 0..255 with overshoot) from the rows that resize_rows made.
void resize_column(const std::vector<float>& rows, int64_t first, const float* weights,
                   int64_t taps, int64_t row_length, std::vector<float>& line) {
  line.assign(row_length, 0.0f);
  for (int64_t t = 0; t < taps; ++t) {
    const float* source = rows.data() + (first + t) * row_length;
    for (int64_t k = 0; k < row_length; ++k) line[k] += weights[t] * source[k];
  }
}

}  // namespace

ResizeWeights resize_weights(double begin, double length, int64_t inputs, int64_t outputs,
                             bool mirrored) {
  const double scale = length / double(outputs);
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2.0 * filter_scale;
  ResizeWeights result;
  result.taps = std::min<int64_t>(inputs, int64_t(std::ceil(2.0 * support)) + 1);
  result.first.resize(outputs);
  result.weights.assign(outputs * result.taps, 0.0f);
  for (int64_t i = 0; i < outputs; ++i) {
    const double centre = begin + (double(i) + 0.5) * scale;
    const int64_t first =
        std::clamp<int64_t>(int64_t(std::floor(centre - support)), 0, inputs - result.taps);
    const int64_t row = mirrored ? outputs - 1 - i : i;
    result.first[row] = first;
    float* weights = result.weights.data() + row * result.taps;
    double sum = 0.0;
    for (int64_t t = 0; t < result.taps; ++t) {
      sum += cubic((double(first + t) + 0.5 - centre) / filter_scale);
    }
    for (int64_t t = 0; t < result.taps; ++t) {
      weights[t] = float(cubic((double(first + t) + 0.5 - centre) / filter_scale) / sum);
    }
  }
  return result;
}

void resample(const Pixels& pixels, const Box& box, bool mirrored, int64_t height, int64_t width,
              float* out) {
  const ResizeWeights x = resize_weights(box.left, box.width, pixels.width, width, mirrored);
  ResizeWeights y = resize_weights(box.top, box.height, pixels.height, height, false);
  const int64_t first_row = *std::min_element(y.first.begin(), y.first.end());
  const int64_t last_row = *std::max_element(y.first.begin(), y.first.end()) + y.taps;
  std::vector<float> rows, line;
  resize_rows(pixels, first_row, last_row - first_row, x, width, rows);
  for (int64_t i = 0; i < height; ++i) {
    resize_column(rows, y.first[i] - first_row, y.weights.data() + i * y.taps, y.taps, width * 3,
                  line);
    for (int64_t channel = 0; channel < 3; ++channel) {
      float* target = out + (channel * height + i) * width;
      for (int64_t k = 0; k < width; ++k) {
        target[k] = std::clamp(line[k * 3 + channel] * (1.0f / 255.0f), 0.0f, 1.0f);
      }
    }
  }
}

Pixels scaled(const Pixels& pixels, int64_t height, int64_t width) {
  const ResizeWeights x = resize_weights(0, double(pixels.width), pixels.width, width, false);
  const ResizeWeights y = resize_weights(0, double(pixels.height), pixels.height, height, false);
  std::vector<float> rows, line;
  resize_rows(pixels, 0, pixels.height, x, width, rows);
  Pixels result{height, width, std::vector<uint8_t>(height * width * 3)};
  for (int64_t i = 0; i < height; ++i) {
    resize_column(rows, y.first[i], y.weights.data() + i * y.taps, y.taps, width * 3, line);
    uint8_t* target = result.rgb.data() + i * width * 3;
    for (int64_t k = 0; k < width * 3; ++k) {
      target[k] = uint8_t(std::clamp(line[k] + 0.5f, 0.0f, 255.0f));
    }
  }
  return result;
}

Pixels halved(const Pixels& pixels) {
  Pixels result{pixels.height / 2, pixels.width / 2, {}};
  result.rgb.resize(result.height * result.width * 3);
  for (int64_t row = 0; row < result.height; ++row) {
    const uint8_t* above = pixels.rgb.data() + 2 * row * pixels.width * 3;
    const uint8_t* below = above + pixels.width * 3;
    uint8_t* target = result.rgb.data() + row * result.width * 3;
    for (int64_t column = 0; column < result.width; ++column) {
      for (int64_t channel = 0; channel < 3; ++channel) {
        const int64_t k = column * 6 + channel;
        target[column * 3 + channel] =
            uint8_t((above[k] + above[k + 3] + below[k] + below[k + 3] + 2) / 4);
      }
    }
  }
  return result;
}

}  // namespace lexel::train
