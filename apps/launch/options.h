#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lexel::cli {

/// What `lexel launch` was asked for.
struct LaunchOptions {
  int64_t ranks = 2;
  std::vector<std::string> command;  // program and its arguments
  double grace = 10;                 // seconds that the other ranks have after one failed
};

}  // namespace lexel::cli
