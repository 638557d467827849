#pragma once

#include <string>
#include <vector>

#include "tokenizers/train_text_tokenizer.h"

namespace lexel::tests {

/// English captions of the kind that Lexel composes, 216 of them.
inline std::vector<std::string> english_captions() {
  std::vector<std::string> captions;
  for (const char* colour : {"red", "green", "blue", "yellow", "small", "large"})
    for (const char* thing : {"fish", "house", "tree", "car", "snowman", "umbrella"})
      for (const char* place : {"above a house", "to the left of a tree", "on a white background",
                                "below two clouds", "beside a river", "in the photograph"})
        captions.push_back(std::string("a ") + colour + " " + thing + " " + place);
  return captions;
}

/// A model of the captions above, the same bytes every time.
inline const std::string& english_model() {
  static const std::string model = [] {
    TextTrainingOptions options;
    options.vocabulary = 400;
    return train_text_tokenizer(english_captions(), options).serialized;
  }();
  return model;
}

}  // namespace lexel::tests
