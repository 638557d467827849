#include "apps/bench/case.h"

namespace lexel::bench {

std::vector<Case> linear_decode_cases(at::Device) { return {}; }

}  // namespace lexel::bench
