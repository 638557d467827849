#pragma once

#include "kernels/adafactor_part.h"
#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

// The matrix is cut into tiles, each with sums of its own; a block takes one.
constexpr int64_t kAdafactorTileRows = 64, kAdafactorTileColumns = 1024;

/// On the device. With Tr = ceil(R / 64) and Tc = ceil(C / 1024):
struct AdafactorScratch {
  float* row_sums;      // (Tc, R): sums of g^2
  float* column_sums;   // (Tr, C)
  float* row_scale;     // (R): 1 / sqrt(row)
  float* column_scale;  // (C): 1 / sqrt(column)
  double* update_sums;  // (Tr Tc): sums of (g row_scale column_scale)^2
  float* update_scale;  // one value: what makes (1 - beta1) u of g row_scale column_scale
};

/// throws   all launches: Error(kInternal) when one fails
void launch_adafactor(const AdafactorPart& part, const AdafactorScratch& scratch, Stream stream);

/// Its stages; sums (R + C), totals (2) on the device. Of the scratch they use: row_sums and column_sums; scales and update_sums; scales
/// and update_scale.
void launch_adafactor_squares(const AdafactorPart& part, const AdafactorScratch& scratch,
                              double* sums, Stream stream);
void launch_adafactor_factors(const AdafactorPart& part, const AdafactorScratch& scratch,
                              const double* sums, double* totals, Stream stream);
void launch_adafactor_update(const AdafactorPart& part, const AdafactorScratch& scratch,
                             const double* totals, Stream stream);

}  // namespace lexel::kernels::cuda
