#pragma once

#include <ATen/core/Tensor.h>
#include <string>

#include "tokenizers/io/image.h"

namespace lexel::cli {

/// A picture beside the same picture under a heat map of its tokens, with a legend of the colours below: dark blue is the
/// lowest value, yellow the highest.
///
/// picture  (3, S, S) float32 in [0, 1]
/// values   (h, w) float, finite
/// title    one line above the legend's colours: "ln p of each token, mean -4.20"
Image heat_picture(const at::Tensor& picture, const at::Tensor& values, const std::string& title);

}  // namespace lexel::cli
