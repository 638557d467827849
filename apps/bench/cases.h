#pragma once

#include <string>
#include <vector>

#include "apps/bench/case.h"

namespace lexel::bench {

/// The cases of a device, in the order of kKernelNames.
///
/// kernels   names to keep; empty: all
/// only      text that a case's name must hold; empty: any
/// throws    Error(kUsage) when nothing is left
std::vector<Case> find_cases(at::Device device, const std::vector<std::string>& kernels,
                             const std::string& only);

/// Those whose name holds `only`.
/// throws    Error(kUsage) when nothing is left
std::vector<Case> keep_named(std::vector<Case> cases, const std::string& only);

}  // namespace lexel::bench
