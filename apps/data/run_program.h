#pragma once

#include <string>
#include <vector>

namespace lexel::data {

/// Runs a program without a shell, in `folder`, its output kept in a file there, and waits for its end.
///
/// throws  Error(kUnsupported) when there is no such program: the message is `cure`;
///         Error(kIo) when it fails: its name, its last line, and `cure`
void run_program(const std::vector<std::string>& arguments, const std::string& folder,
                 const std::string& cure);

}  // namespace lexel::data
