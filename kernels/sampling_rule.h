#pragma once

#include <algorithm>
#include <limits>

#include "kernels/sampling.h"
#include "kernels/sampling_arithmetic.h"

namespace lexel::kernels {

/// The options of a call, rounded to what is computed with. The temperature's inverse is clamped to float32's normal range.
inline SamplingRule sampling_rule(const SamplingOptions& options, bool guided, int64_t vocabulary) {
  using Limits = std::numeric_limits<float>;
  const double inverse =
      options.temperature == 0.0
          ? 0.0
          : std::clamp<double>(1.0 / options.temperature, Limits::min(), Limits::max());
  return {guided && options.guidance != 1.0,
          static_cast<float>(options.guidance),
          static_cast<float>(inverse),
          options.top_k == 0 ? vocabulary : options.top_k,
          options.top_p,
          options.seed};
}

}  // namespace lexel::kernels
