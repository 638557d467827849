#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "apps/data/picture_words.h"

namespace lexel::train {

/// How often what is said of pictures holds what their captions say.
struct WordMatch {
  double name_first = 0;  // the first word is a name of the caption
  double name = 0;        // one of all is
  double any_first = 0;   // the first is a name or another word of the caption
  double any = 0;         // one of all is
};

/// said     (n, w) int64, the words said of each picture, best first
/// truths   of the n pictures; not empty
WordMatch word_match(const at::Tensor& said, const std::vector<data::PictureWords>& truths);

/// The words that captions use most, most frequent first, names counting 1 and other words `other_weight`: what whoever sees
/// nothing should say of every picture.
std::vector<int64_t> frequent_words(const std::vector<data::PictureWords>& pictures,
                                    double other_weight, int64_t count);

/// Weight of words other than names in the prior that SPAE is measured beside, whatever a guide's recipe says.
inline constexpr double kPriorOtherWeight = 0.4;

/// What the frequent words hit.
WordMatch prior_match(const std::vector<data::PictureWords>& training,
                      const std::vector<data::PictureWords>& truths, double other_weight,
                      int64_t count);

}  // namespace lexel::train
