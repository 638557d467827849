#pragma once

#include <cstdint>
#include <vector>

#include "apps/data/compose/scene.h"
#include "kernels/philox.h"

namespace lexel::data {

/// A square place for a thing, pixels. Its thing stands in the middle of it.
struct Place {
  int64_t left = 0, top = 0, side = 0;
};

/// The usual places of one to five things: in rows, 1, 2, 2 + 1, 2 + 2, 2 + 2 + 1, each in the middle of its cell.
///
/// returns  one place a side, in order; empty when one is larger than its cell
std::vector<Place> place_in_rows(const std::vector<int64_t>& sides, int64_t canvas, int64_t grid);

/// The usual places of two things of which the first is left of, right of, above or below the second: in line, both in the
/// middle across it. Empty when they do not fit.
std::vector<Place> place_in_line(int64_t first, int64_t second, Relation relation, int64_t canvas,
                                 int64_t grid);

/// Places that lie inside the canvas, on multiples of `grid`, without touching one another.
///
/// sides    of the places, pixels; multiples of `grid`
/// returns  one place a side, in order; empty when no way was found
std::vector<Place> place_apart(const std::vector<int64_t>& sides, int64_t canvas, int64_t grid,
                               Philox& random);

/// Two places of which the first is left of, right of, above or below the second: apart along that axis, and
/// their middles at most 8 pixels out of line across it, so that nothing else is as true.
///
/// returns  as place_apart
std::vector<Place> place_related(int64_t first, int64_t second, Relation relation, int64_t canvas,
                                 int64_t grid, Philox& random);

}  // namespace lexel::data
