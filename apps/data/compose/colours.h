#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace lexel::data {

/// A colour that captions name.
struct Colour {
  const char* name;
  std::array<uint8_t, 3> rgb;
};

/// The hues that things are drawn in: "a red fish".
const std::vector<Colour>& thing_colours();

/// Those of plain and gradient backgrounds: "on a light blue background" is told apart from a blue thing.
const std::vector<Colour>& background_colours();

}  // namespace lexel::data
