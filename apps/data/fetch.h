#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace lexel::data {

struct FetchOptions {
  std::vector<std::string> sets = {};  // names of `lexel data list`, or "all"
  std::string output = "data";         // folder, made when it is not there
  std::string debs = {};  // folder with downloaded .deb files, used before apt-get; may be empty
  bool force = false;     // also what is there already
};

/// Fetches each set and packs it (pack.h); the packages are unpacked below `output` for that time only. No root needed:
/// apt-get download, dpkg-deb -x. A set that is complete already is left alone. One line a set goes to `log`.
///
/// throws  Error(kUsage) an unknown set, before anything is fetched; Error(kUnsupported) no apt-get or pip;
///         Error(kIo) a download that failed, with the cure
void run_data_fetch(const FetchOptions& options, std::ostream& log);

/// The table of sets: name, pictures (when fetched), licence, what it is.
void run_data_list(const std::string& output, std::ostream& out);

}  // namespace lexel::data
