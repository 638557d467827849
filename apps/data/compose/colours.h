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

/// Those of plain and gradient backgrounds: lighter, so that a blue thing stands out on blue.
const std::vector<Colour>& background_colours();

/// What a gradient that starts with this colour ends with: darker, for black lighter.
std::array<uint8_t, 3> gradient_end(const Colour& colour);

}  // namespace lexel::data
