#pragma once

#include <cstdint>

#include "kernels/attention_mask.h"

namespace lexel::kernels {

/// Keys begin .. end-1 of a cache.
struct KeyRun {
  int64_t begin, end;
};

/// The keys that a decode step sees are one run, or with a conv mask one a row of its window.
constexpr int64_t num_key_runs(const AttentionMask& mask) {
  return mask.kind == AttentionMask::Kind::kConv ? mask.kernel / 2 + 1 : 1;
}

/// Run number i, in rising order of keys, of the query at position length - 1 over a cache of `length` keys; may be
/// empty. Runs do not overlap. A prefix changes nothing: no key lies after the query.
constexpr KeyRun key_run(const AttentionMask& mask, int64_t length, int64_t i) {
  if (mask.kind != AttentionMask::Kind::kConv || length == 0) return {0, i == 0 ? length : 0};
  const int64_t radius = mask.kernel / 2, row = radius - i;  // rows above the query's
  const int64_t middle = length - 1 - row * mask.grid_width;
  const int64_t begin = middle - radius < 0 ? 0 : middle - radius;
  const int64_t end = row == 0 ? length : middle + radius + 1;
  return {begin, end < begin ? begin : end};
}

}  // namespace lexel::kernels
