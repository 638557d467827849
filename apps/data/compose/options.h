#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/data/compose/composer_config.h"

namespace lexel::data {

/// What `lexel data compose` was asked for.
struct ComposeOptions {
  std::string sprites = "data/sprites.tar";
  std::vector<std::string> backgrounds = {};  // tars, folders, files; may be empty
  std::string output = {};                    // tar; empty when only a sheet is wanted
  std::string sheet = {};                     // contact sheet of the first scenes; empty: none
  std::string split = "train";                // or "heldout"
  int64_t count = 1000;
  int64_t first = 0;  // number of the first scene
  uint64_t seed = 0;
  ComposeConfig config = {};
  bool quiet = false;
};

}  // namespace lexel::data
