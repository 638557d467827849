#pragma once

#include <cstdint>

namespace lexel::kernels::cpu {

/// The mean loss, and its gradient in the maps where that is not null.
///
/// maps      (pictures, 2, values): mu and ln b
/// images    (pictures, values)
/// gradient  (pictures, 2, values), or null
float logit_laplace(const float* maps, const float* images, int64_t pictures, int64_t values,
                    float* gradient);

}  // namespace lexel::kernels::cpu
