#include "apps/bench/case.h"

namespace lexel::bench {

std::vector<Case> adamw_cases(at::Device) { return {}; }

}  // namespace lexel::bench
