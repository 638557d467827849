#pragma once

#include <cstdint>

#include "autoregressive/parallel/mesh.h"
#include "kernels/check.h"

namespace lexel::train {

/// Which forward passes of each optimizer step a rank makes. A step has `accumulation` passes, batch numbers step * accumulation and those
/// that follow, whatever the number of ranks: rank r makes the r-th equal part of them. So a run on N ranks is the run on one rank,
/// to the rounding of sums.
struct BatchShare {
  int64_t accumulation = 1;
  int64_t ranks = 1, rank = 0;  // along the axes "data" and "expert"

  int64_t parts() const { return accumulation / ranks; }  // of this rank, in a step
  /// Batch number of this rank's k-th pass since step 0.
  int64_t number(int64_t k) const {
    return k / parts() * accumulation + rank * parts() + k % parts();
  }
  /// The other way round.
  int64_t index(int64_t number) const {
    return number / accumulation * parts() + number % accumulation - rank * parts();
  }
};

/// Ranks that learn from different pictures: those along "data", and along "expert".
inline int64_t batch_ranks(const parallel::MeshShape& shape) {
  return shape.length("data") * shape.length("expert");
}

/// throws   Error(kUsage) naming the axis when the passes cannot be shared evenly
inline BatchShare batch_share(int64_t accumulation, int64_t ranks, int64_t rank) {
  check(accumulation % ranks == 0, ErrorKind::kUsage, "axis data: ", accumulation,
        accumulation == 1 ? " pass" : " passes", " a step cannot be shared by ", ranks,
        " ranks: set accumulation to a multiple of ", ranks,
        " (and batch to as much less, for the same step)");
  return {accumulation, ranks, rank};
}

}  // namespace lexel::train
