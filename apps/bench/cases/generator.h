#pragma once

#include <string>
#include <vector>

#include "apps/bench/case.h"

namespace lexel::bench {

/// Pictures of the shipped generator's shape beside the same weights run eagerly in LibTorch, on the CPU.
std::vector<Case> generator_cases();

/// The time of a token in eight ranges of positions, as lines of text: it should be flat but for the cache that is read.
std::string step_times();

}  // namespace lexel::bench
