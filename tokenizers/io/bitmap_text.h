#pragma once

#include <ATen/core/Tensor.h>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace lexel {

// Small labels on sheets and legends: capitals of 5 x 7 pixels, in a font that lies in the source.

using Ink = std::array<uint8_t, 3>;  // red, green, blue

inline constexpr int64_t kLetterWidth = 6, kLetterHeight = 8;  // pixels, with the gap; at scale 1

/// One line of text with its top left corner at (left, top); what falls off the picture is cut. Small letters are drawn as
/// capitals, a character that is not in the font (not ASCII, most of all) as a blank.
///
/// pixels   (H, W, 3) uint8, CPU, changed in place
/// scale    pixels a dot of the letters, >= 1
void draw_text_(at::Tensor& pixels, int64_t left, int64_t top, const std::string& text, Ink ink,
                int64_t scale = 1);

/// Text broken at spaces into lines of at most `letters` characters (a longer word is broken); UTF-8 characters count as
/// one. Lines past `max_lines` are left out and the last one ends in "...".
std::vector<std::string> wrap_text(const std::string& text, size_t letters, size_t max_lines);

}  // namespace lexel
