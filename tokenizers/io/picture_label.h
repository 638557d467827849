#pragma once

#include <cstdint>
#include <string>

namespace lexel {

/// What the JSON beside a picture of a WebDataset tar says of it.
struct PictureLabel {
  bool found = false;     // there is a JSON object
  std::string caption;    // "caption"; empty: none
  int64_t label = -1;     // "class", from 0; -1: none
  std::string set;        // "set": pictures that came together; empty: none
  bool held_out = false;  // "split" is "heldout": never to be trained on
};

/// json     text of the .json member; what is no object, and keys of another type, say nothing
PictureLabel picture_label(const std::string& json);

}  // namespace lexel
