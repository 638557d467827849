#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <string>

#include "apps/data/sets.h"

namespace lexel::data {

/// What became of a set.
struct PackCount {
  int64_t train = 0, held_out = 0;  // pictures
  int64_t duplicates = 0;           // same bytes as one before: dropped
  int64_t bad = 0;    // cannot be read, or smaller than 16 pixels: named in the log, dropped
  int64_t bytes = 0;  // of the tars
};

/// Pictures of a set into OUTPUT/NAME-train-00000.tar, -00001.tar ... and OUTPUT/NAME-heldout-00000.tar: KEY.jpg or
/// KEY.png as in the package, and KEY.json with caption, source, package, kind, licence, set and split. What is longer
/// than 1536 pixels is stored at 1536: photos and art as JPEG of quality 95, others as PNG. Tars end at 256 MB.
///
/// A picture is held out when its set is, or when a hash of its family (sets.h) says so: 5 %, for good,
/// whatever else is in the set.
///
/// roots    package name to the folder where it is unpacked
/// throws   Error(kIo); Error(kBadData) when the rules match nothing
PackCount pack_set(const DataSet& set, const std::map<std::string, std::string>& roots,
                   const std::string& output, std::ostream& log);

/// Fashion-MNIST's idx.gz files below `root`: its training part and its test part as the two splits.
PackCount pack_fashion_mnist(const std::string& root, const std::string& output);

/// Whether the family of a picture is held out: SHA-256 of "SET/FAMILY" modulo 20 is 0.
bool is_held_out(const std::string& set, const std::string& family);

}  // namespace lexel::data
