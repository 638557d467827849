#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

struct CodebookLookupArguments {
  const float* rows;   // (N, D)
  const float* codes;  // (K, D)
  int64_t num_rows, num_codes, width;
  bool l2;
  float* bias;   // (K) scratch
  int64_t* ids;  // (N), written
  float* score;  // (N), written
};

/// throws   Error(kInternal) when the launch fails
void launch_codebook_lookup(const CodebookLookupArguments& arguments, Stream stream);

}  // namespace lexel::kernels::cuda
