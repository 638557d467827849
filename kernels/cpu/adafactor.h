#pragma once

#include "kernels/adafactor_part.h"

namespace lexel::kernels::cpu {

/// Sums are cut and added in a fixed order: the bits do not depend on threads. Scratch: 4 bytes for each 128 to 1024
/// weights, and 4 (R + C).
void adafactor(const AdafactorPart& part);

/// Its stages; sums (R + C), totals (2).
void adafactor_squares(const AdafactorPart& part, double* sums);
void adafactor_factors(const AdafactorPart& part, const double* sums, double* totals);
void adafactor_update(const AdafactorPart& part, const double* totals);

}  // namespace lexel::kernels::cpu
