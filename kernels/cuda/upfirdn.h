#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/upfirdn_part.h"

namespace lexel::kernels::cuda {

/// x and result lie as part says; uint16_t holds bfloat16.
///
/// throws   Error(kUnsupported) on sizes or padding of 2^30 or more, Error(kInternal) when the launch fails
void launch_upfirdn2d(const UpfirdnPart& part, const float* x, float* result, Stream stream);
void launch_upfirdn2d(const UpfirdnPart& part, const uint16_t* x, uint16_t* result, Stream stream);

}  // namespace lexel::kernels::cuda
