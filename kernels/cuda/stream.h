#pragma once

struct CUstream_st;  // what cudaStream_t points to

namespace lexel::kernels::cuda {

/// A CUDA stream, in headers that know neither CUDA nor torch. Work on it does not wait for anything but its own past.
using Stream = CUstream_st*;

}  // namespace lexel::kernels::cuda
