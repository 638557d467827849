#pragma once

#include <cstdint>
#include <vector>

#include "tokenizers/io/image.h"

namespace lexel {

/// A JPEG file in memory, colours at full resolution (4:4:4), for who must fit a budget of bytes;
/// encode_image() takes quality 95.
///
/// quality  1..100
/// throws   Error(kUsage) another quality, or more than 65500 pixels a side
std::vector<uint8_t> encode_jpeg(const Image& image, int quality);

}  // namespace lexel
