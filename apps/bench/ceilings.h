#pragma once

#include <ATen/core/Tensor.h>
#include <map>
#include <string>

#include "apps/bench/case.h"

namespace lexel::bench {

/// What this machine reaches at best, measured now with the threads in use.
///
/// kFma     CPU: independent float32 multiply-adds in registers. CUDA: matmul of float32 4096^3, without TF32.
/// kTensor  at::matmul of bfloat16, CPU 2048^3 (512^3 where it is slow: no such instructions), CUDA 8192^3
/// kRead    CPU: bytes of a sum over a buffer of 4 times the last cache, at least 256 MB
/// kUpdate  CPU: bytes read and written when three of four such arrays are updated in place, as an optimizer does; more
///          than kRead where a machine reads and writes at once
/// kCache   CPU: bytes of sums over 8 MB again and again, which the last cache holds
///          CUDA, all three: bytes read and written by a copy of 1 GB
/// returns  FLOP/s or bytes/s; 0 for kLaunch
double measure_ceiling(Ceiling ceiling, at::Device device);

/// Fills the CPU's caches with other data, by all threads.
void evict_caches();

}  // namespace lexel::bench
