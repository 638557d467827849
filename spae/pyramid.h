#pragma once

#include <cstdint>
#include <vector>

namespace lexel::spae {

/// The layers of a pyramid over a square grid of positions. A layer of side s takes the s x s positions of the dilation
/// subsampler; a picture's tokens go layer by layer, row by row inside a layer.
///
/// source   Yu et al. 2023, arXiv:2306.17842, section 3.1, P(l), from memory. On 16 x 16 positions the layers of
///          sides 1, 2, 4 and 8 share no position (85 of the 256 are visited), which the tests hold to.
struct Pyramid {
  std::vector<int64_t> sides;  // a layer each, from the top; rising or equal
  std::vector<std::vector<int64_t>>
      positions;  // of each layer, in its order: row * grid() + column

  int64_t layers() const { return static_cast<int64_t>(sides.size()); }
  int64_t grid() const { return sides.back(); }  // positions a side

  /// Tokens of the first `layers` layers: 1, 5, 21, 85, 341, 597 for sides of 1 2 4 8 16 16.
  int64_t tokens(int64_t layers) const;
  int64_t tokens() const { return tokens(layers()); }

  /// How many layers a picture of this many tokens has.
  /// throws   Error(kBadData) naming the layer in whose middle the tokens end, or that they are too many or none
  int64_t layers_of(int64_t tokens) const;

  /// How often the first `layers` layers take each position, (grid * grid).
  std::vector<int64_t> visits(int64_t layers) const;

  /// True if the first `layers` layers take no position twice.
  bool disjoint(int64_t layers) const;

  /// For each position the nearest that the first `layers` layers take (itself where they do); of equally near ones
  /// the first in raster order. layers >= 1.
  std::vector<int64_t> nearest_visited(int64_t layers) const;
};

/// The pyramid of these sides. In layer l, with a dilation of h = grid / s, row i of 0 .. s-1 lies at h (i + 1) - ceil(h / 2).
///
/// throws   Error(kUsage) no side, more than 16, a side past 256, one that falls or that does not divide the last
Pyramid make_pyramid(const std::vector<int64_t>& sides);

}  // namespace lexel::spae
