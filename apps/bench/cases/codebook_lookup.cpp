#include "apps/bench/case.h"

namespace lexel::bench {

std::vector<Case> codebook_lookup_cases(at::Device) { return {}; }

}  // namespace lexel::bench
