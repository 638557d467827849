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

/// throws   Error(kInternal) when a launch fails
void launch_adafactor(const AdafactorPart& part, const AdafactorScratch& scratch, Stream stream);

}  // namespace lexel::kernels::cuda
