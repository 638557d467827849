#pragma once

#include "kernels/upfirdn_part.h"

namespace lexel::kernels::cpu {

/// x and result lie as part says; uint16_t holds bfloat16. Each row of the result is made by itself, so threads do not
/// change bits.
void upfirdn2d(const UpfirdnPart& part, const float* x, float* result);
void upfirdn2d(const UpfirdnPart& part, const uint16_t* x, uint16_t* result);

}  // namespace lexel::kernels::cpu
