#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/image.h"

namespace lexel {

/// A photo of which some tokens are drawn anew, all as the model sees it: the centre square, S x S pixels.
///
/// Tokens are drawn in raster order and each sees only those before it, so what is redrawn fits what stands above and to its
/// left; what is kept below or to its right has no say in it.
struct Edit {
  at::Tensor photo;   // (3, S, S) float32 in [0, 1], CPU
  at::Tensor redraw;  // (h, w) bool, CPU: the cells that are drawn anew
  at::Tensor
      given;  // (h * w) int64, CPU: the photo's tokens, -1 where they are drawn anew (see ar::generate)
};

/// Redraws every token whose cell the mask touches.
///
/// mask     of the photo's size; light pixels (mean of the channels from 128) are to be redrawn
/// throws   Error(kBadData) on a mask of another size, or one that touches no cell of the centre square
Edit edit_masked(const ImageTokenizer& tokenizer, const Image& photo, const Image& mask);

/// Keeps the first `rows` rows of tokens and draws the rest.
///
/// throws   Error(kUsage) on rows outside 1..h-1
Edit edit_below(const ImageTokenizer& tokenizer, const Image& photo, int64_t rows);

/// The edited picture: redrawn cells as drawn, everything else the photo's own pixels, with a linear ramp of half a cell's width
/// from one to the other. The ramp lies outside of the redrawn cells, where the drawn picture is the tokenizer's rendering of
/// the photo, so that nothing of what was to go shines through.
///
/// drawn    (3, S, S) float32
/// returns  (3, S, S) float32 in [0, 1]
/// throws   Error(kUsage) on another shape
at::Tensor blend(const Edit& edit, const at::Tensor& drawn);

}  // namespace lexel
