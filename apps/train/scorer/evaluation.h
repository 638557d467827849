#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "apps/train/scorer/scenes.h"

namespace lexel::train {

/// How often something was right.
struct Share {
  int64_t right = 0, of = 0;
  double value() const { return of == 0 ? 0.0 : double(right) / double(of); }
  /// Ends of the 95 % interval. source  Wilson 1927, "Probable inference, the law of succession"
  double low() const;
  double high() const;
};

/// How often a caption finds its picture among `distractors` others; ties count as wrong. Pictures that the caption could be
/// true of are no distractors.
///
/// cosines      (n, n): row = caption, column = picture
/// seed         which pictures stand beside which
Share recall(const at::Tensor& cosines, const std::vector<Content>& contents, int64_t distractors,
             uint64_t seed);

/// Every changed caption against the true one, by what was changed: how often the true one is above.
///
/// own      (n) cosine of each picture with its caption
/// changed  (sum of all changed) cosines with the changed ones, in the order of `scenes`
std::map<Change, Share> told_apart(const at::Tensor& own, const at::Tensor& changed,
                                   const HeldOutScenes& scenes);

}  // namespace lexel::train
