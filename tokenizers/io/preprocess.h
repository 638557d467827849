#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel {

/// How a picture of any size becomes a model's input. Saved in the model file and in every token file.
struct Preprocess {
  int64_t image_size = 256;       // pixels, square
  std::string fit = "crop";       // "crop" (short side, centre crop), "pad" (long side, edge colour mean), "stretch", "tiles"
  std::string kernel = "bicubic";  // "bicubic" or "bilinear", both antialiased (Pillow's), or "box"
};

/// Where the model's inputs lie in the original picture, so that tok2img can give it back.
struct Layout {
  int64_t width = 0, height = 0;  // the original picture, pixels
  int64_t columns = 1, rows = 1;  // tiles of image_size (1 x 1 unless fit is "tiles")
  // The part of the (columns * image_size, rows * image_size) canvas that shows the picture:
  int64_t left = 0, top = 0, shown_width = 0, shown_height = 0;
};

struct Prepared {
  at::Tensor tiles;  // (rows * columns, 3, image_size, image_size) float32 in [0, 1], row-major
  Layout layout;
};

/// Throws Error(kUsage) on an unknown fit or kernel or a size below 1.
void validate(const Preprocess& preprocess);

Prepared prepare(const Image& image, const Preprocess& preprocess);

/// The inverse for decoded tiles: crop and stretch undo nothing but the size rule ("crop" gives the
/// square back, "stretch" the original shape, "pad" and "tiles" the original shape without the border).
Image restore(const at::Tensor& tiles, const Layout& layout, const Preprocess& preprocess);

/// Antialiased resize. (C, H, W) float32 -> (C, height, width).
at::Tensor resize(const at::Tensor& chw, int64_t height, int64_t width, const std::string& kernel);

}  // namespace lexel
