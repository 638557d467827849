#pragma once

#include <span>

#include "kernels/adamw_part.h"
#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

/// One launch for up to 48 parts.
///
/// throws   Error(kInternal) when a launch fails
void launch_adamw(std::span<const AdamWPart> parts, Stream stream);

}  // namespace lexel::kernels::cuda
