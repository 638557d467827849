#pragma once

#include <string>
#include <vector>

namespace lexel::cli {

/// Relative paths to write pictures at, by their original names: the folders are kept, the extension is
/// replaced, names that would meet get a number ("cat.png", "cat-2.png"), and a name that points out of the
/// folder ("/etc/x", "../x") is brought inside it.
///
/// names      as a token file gives them: not to be trusted
/// extension  without a dot
std::vector<std::string> output_names(const std::vector<std::string>& names,
                                      const std::string& extension);

}  // namespace lexel::cli
