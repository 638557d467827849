#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace lexel::kernels::cuda {

/// Arguments of codebook_lookup (C = 1 without a batch), and scratch.
struct CodebookLookupArguments {
  const float* rows;     // (C, N, D)
  const float* codes;    // (C, K, D)
  const bool* allowed;   // (C, K), (K) or null
  int64_t allowed_step;  // K, or 0: the same for all codebooks
  int64_t num_books, num_rows, num_codes, width;
  bool l2;
  int64_t top_k;
  float* bias;      // (C, K) scratch
  int64_t* ids;     // (C, N, top_k), written
  float* score;     // (C, N, top_k), written
  int64_t* counts;  // (C, K), zeros, added to; or null
};

/// throws   Error(kInternal) when a launch fails
void launch_codebook_lookup(const CodebookLookupArguments& arguments, Stream stream);

}  // namespace lexel::kernels::cuda
