#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel::cli {

/// A sheet with a panel a layer: the picture, paled, and on it the layer's words, each at the position that it stands for. Letters
/// are as large as the layer leaves room for; where words would touch, neighbours go up and down, and what is
/// still too long is cut.
///
/// picture  (3, S, S) float32 in [0, 1]
/// words    layer by layer, as many as the sides say
/// sides    of the pyramid's layers, from the top
Image word_picture(const at::Tensor& picture, const std::vector<std::string>& words,
                   const std::vector<int64_t>& sides);

}  // namespace lexel::cli
