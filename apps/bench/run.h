#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/bench/case.h"
#include "apps/bench/report.h"

namespace lexel::bench {

/// Runs the cases one after another: tensors, comparison, clock; and measures each ceiling that they name, at the start and at the end. A case that fails
/// has its reason in its row, and the next one begins.
///
/// before   called with the number of the case that comes, for a progress line
Report run_cases(const std::vector<Case>& cases, at::Device device, int64_t rounds,
                 const std::function<void(size_t)>& before);

/// "alpha, big: off by 3" of the first row that failed; empty: none did.
std::string first_failure(const Report& report);

}  // namespace lexel::bench
