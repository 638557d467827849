#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

#include "tokenizers/io/image.h"

namespace lexel {

/// How a picture of any size becomes a model's input. Saved in the model file and in every token file.
struct Preprocess {
  int64_t image_size = 256;        // pixels, square
  std::string fit = "crop";        // see Layout
  std::string kernel = "bicubic";  // "bicubic" or "bilinear", both antialiased (Pillow's), or "box"

  bool operator==(const Preprocess&) const = default;
};

/// Where a picture of width x height lies on the canvas of columns x rows tiles, so that tok2img can give it
/// back. It follows from the size and the Preprocess alone (make_layout):
///   "crop"     the centre square of the short side's length fills the one tile; the rest is lost
///   "pad"      the long side fills the one tile, the picture in the middle, around it the mean colour of its edge
///   "stretch"  the picture fills the one tile, whatever its shape
///   "tiles"    the picture in its own size at the top left, its last row and column repeated to fill the last tiles
struct Layout {
  int64_t width = 0, height = 0;  // the original picture, pixels
  int64_t columns = 1, rows = 1;  // tiles of image_size (1 x 1 unless fit is "tiles")
  // The part of the (columns * image_size, rows * image_size) canvas that shows the picture:
  int64_t left = 0, top = 0, shown_width = 0, shown_height = 0;

  bool operator==(const Layout&) const = default;
};

struct Prepared {
  at::Tensor tiles;  // (rows * columns, 3, image_size, image_size) float32 in [0, 1], row-major
  Layout layout;
};

/// throws  Error(kUsage) on an unknown fit or kernel, or an image_size outside [1, 16384]
void validate(const Preprocess& preprocess);

/// throws  Error(kUsage) as validate; Error(kBadData) on a size that no picture has (see check_size, image.h)
Layout make_layout(int64_t width, int64_t height, const Preprocess& preprocess);

Prepared prepare(const Image& image, const Preprocess& preprocess);

/// The inverse of the size rule, for decoded tiles. "crop" gives the square back at image_size; "pad" and
/// "stretch" the original width and height by resizing; "tiles" the original pixels exactly.
///
/// tiles    (rows * columns, 3, image_size, image_size) floating point, clamped to [0, 1]
/// throws   Error(kUsage) on tiles of another shape; Error(kBadData) when the layout is not make_layout's
Image restore(const at::Tensor& tiles, const Layout& layout, const Preprocess& preprocess);

/// Antialiased resize. (C, H, W) floating point -> (C, height, width). Bicubic may overshoot [0, 1] by
/// some hundredths; "box" is the mean of all pixels that a new pixel touches.
at::Tensor resize(const at::Tensor& chw, int64_t height, int64_t width, const std::string& kernel);

/// The same on 8 bits, several times as fast; agrees with the float way to one level or two.
Image resize(const Image& image, int64_t height, int64_t width, const std::string& kernel);

}  // namespace lexel
