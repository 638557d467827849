#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizers/io/picture_source.h"

namespace lexel::train {

/// A picture of the data before it is decoded.
struct FoundPicture {
  PictureBytes bytes;
  int64_t width = 0, height = 0;  // pixels, by its header
  std::string set;
  bool held_out = false;
  bool has_json = false;
};

/// Every picture of files, folders, tars and lists whose header can be read and whose sides have `min_side`
/// pixels, in the order of the source, with its set and whether it is held out: that is said by "split": "heldout" in the JSON
/// beside it; where no picture has any JSON, by a hash of the name (5 %).
///
/// skipped  gets "name: reason" of the others
std::vector<FoundPicture> find_pictures(const std::vector<std::string>& inputs, int64_t min_side,
                                        std::vector<std::string>& skipped);

}  // namespace lexel::train
