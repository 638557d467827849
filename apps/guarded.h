#pragma once

#include <functional>
#include <string>

namespace lexel::cli {

/// Calls `work`, which returns an exit code, and turns what it throws into one line on stderr,
/// "name: message", and the exit code of the error's kind; memory that is not there is kUnsupported. The only place that
/// catches everything.
int guarded(const std::string& name, const std::function<int()>& work);

}  // namespace lexel::cli
