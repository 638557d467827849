#pragma once

// What the .cu files offer to the glue (plugin.cpp): plain arguments and a stream, no torch header. All arrays are
// on the stream's device; a launch does not wait for its work.

#include <cstdint>

struct CUstream_st;  // what cudaStream_t points to

namespace lexel::kernels::cuda {

using Stream = CUstream_st*;

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
