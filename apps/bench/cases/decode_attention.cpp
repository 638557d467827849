#include "apps/bench/case.h"

namespace lexel::bench {

std::vector<Case> decode_attention_cases(at::Device) { return {}; }

}  // namespace lexel::bench
