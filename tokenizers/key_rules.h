#pragma once

// Private to tokenizers: tensors of other projects renamed and reshaped by a table.

#include <ATen/core/Tensor.h>
#include <map>
#include <string>
#include <vector>

namespace lexel {

/// What happens to a tensor on its way.
enum class Transform {
  kCopy,
  kDropFirstAxis,  // (1, ...) -> (...)
  kFlatten,  // (D, ...) -> (D, rest): a convolution over patches is a linear map of their pixels
  kFlattenTransposed,  // (D, ...) -> (rest, D): likewise a transposed convolution
  kRepeatPerPixel,     // (C) -> (C P P): each value for all pixels of a patch
};

/// One line of the table. In both names * stands for one part between dots, taken over in order; ** at the
/// end of `theirs` stands for all the rest. An empty `ours` drops the tensor.
struct KeyRule {
  const char* theirs;
  const char* ours;
  Transform transform = Transform::kCopy;
};

using KeyRules = std::vector<KeyRule>;
using TensorMap = std::map<std::string, at::Tensor>;

/// The tensors under their new names; the first rule that fits a key is the one.
///
/// patch_size  pixels, for kRepeatPerPixel
/// name        of the file, for messages
/// throws      Error(kBadData) naming the first key that no rule knows, or whose shape its rule cannot take
TensorMap apply_rules(const KeyRules& rules, const TensorMap& tensors, int64_t patch_size,
                      const std::string& name);

/// What the other project calls the tensor that is `ours` here; `ours` itself if no rule gives it.
std::string their_name(const KeyRules& rules, const std::string& ours);

}  // namespace lexel
