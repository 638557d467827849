#pragma once

#include <span>

#include "kernels/adamw_part.h"

namespace lexel::kernels::cpu {

/// Every element by the same operations, so that the bits do not depend on how parts are cut among threads.
void adamw(std::span<const AdamWPart> parts);

}  // namespace lexel::kernels::cpu
