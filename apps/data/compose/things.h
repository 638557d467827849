#pragma once

#include <string>
#include <vector>

namespace lexel::data {

/// A thing that scenes are composed of, and the emoji that draws it.
struct NamedThing {
  std::string name, plural;
  char32_t code_point;
  bool tintable;  // its drawings are of one hue, or look right in one: a red fish, no blue panda
};

/// The things of `lexel data fetch sprites`, sorted by name.
const std::vector<NamedThing>& named_things();

}  // namespace lexel::data
