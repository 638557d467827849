#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "apps/data/picture_words.h"
#include "apps/train/tokenizer/resample.h"
#include "tokenizers/io/image.h"

namespace lexel::train {

/// A picture in memory: the encoded file until it is first used, then its pixels, no larger than they are needed.
struct WordPicture {
  std::string name;
  data::PictureWords words;      // of a photo: none
  std::vector<uint8_t> encoded;  // emptied by the first use
  RgbaImage
      drawing;  // of a drawing: its visible part; undefined before the first use, or if it is broken
  Pixels photo;  // of a photo
  std::once_flag once;
};

/// What a guide and SPAE learn from: drawings whose caption names something, and photos.
///
/// A tenth of the subjects is held out, whichever set a drawing is from; drawings that `lexel data fetch` keeps for evaluations
/// are held out or left out. Few of a subject are taken, so that no one subject decides what is measured. Photos are held out as their json says. Everything is a function of seed and numbers, from any
/// thread.
class WordPictures {
 public:
  struct Options {
    std::vector<std::string> inputs;  // tars of `lexel data fetch`, folders
    int64_t image_size = 128;         // pixels, square
    uint64_t seed = 1;
    int64_t held_out = 1000;  // most of each held-out list, spread over it
    int64_t of_subject = 4;   // most held-out drawings that show the same
  };

  /// Reads all files; nothing is decoded yet.
  /// throws   Error(kIo); Error(kBadData); Error(kUsage) when there is no captioned drawing to train on, or none held out
  WordPictures(const Options& options, const data::WordFinder& words);

  int64_t drawings() const { return static_cast<int64_t>(drawings_.size()); }
  int64_t photos() const { return static_cast<int64_t>(photos_.size()); }
  int64_t held_out_drawings() const { return static_cast<int64_t>(held_out_drawings_.size()); }
  int64_t held_out_photos() const { return static_cast<int64_t>(held_out_photos_.size()); }
  const data::PictureWords& words_of(int64_t drawing) const;
  const data::PictureWords& words_of_held_out(int64_t drawing) const;
  const std::string& name_of_drawing(int64_t number) const;
  const std::string& name_of_held_out(int64_t drawing) const;
  const std::string& name_of_photo(int64_t number) const;

  // (3, S, S) float32 in [0, 1]. View 0 is the plain one: a drawing as large as it fits, on white; a photo's middle square.
  // Other views put the drawing at any size from 0.6 and any place on white or a colour, or cut a square out of the photo. A
  // picture that turns out broken is white and has no words from then on.
  at::Tensor drawing(int64_t number, int64_t view);
  at::Tensor photo(int64_t number, int64_t view);
  at::Tensor held_out_drawing(int64_t number);
  at::Tensor held_out_photo(int64_t number);

  /// Hash over names, words and bytes, hex.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  using List = std::deque<WordPicture>;  // a deque, once_flag cannot move
  at::Tensor drawing_of(List& list, int64_t number, int64_t view);
  at::Tensor photo_of(List& list, int64_t number, int64_t view);

  Options options_;
  List drawings_, photos_, held_out_drawings_, held_out_photos_;
  std::string fingerprint_;
};

}  // namespace lexel::train
