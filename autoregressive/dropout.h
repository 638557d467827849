#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string_view>

namespace lexel::ar {

/// Where x (B, n, c) lies in a larger tensor (.., N, C) that is dropped as one: x is its rows from first_row on, of each the
/// tokens from first_token on, of each the channels from first_channel on. Places past the larger tensor's end may be anything.
struct DropoutPart {
  int64_t first_row = 0, first_token = 0, first_channel = 0;
  int64_t tokens = 0, channels = 0;  // N and C; 0: those of x
};

/// x with a share `rate` of its values set to 0 and the others divided by 1 - rate. Which ones depends on (seed, step, site)
/// and on the place in the larger tensor, nothing else: not on threads, and a pass that is repeated drops the same. The rate
/// is rounded to 1 / 65536, and the division by what remains is by that.
///
/// x        float32, bfloat16 or float64, contiguous
/// rate     in [0, 1); 0 gives x itself
/// site     names the place in the model
/// part     of another than the whole: x has three dimensions
/// source   Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"
at::Tensor dropout(const at::Tensor& x, double rate, uint64_t seed, std::string_view site,
                   int64_t step, const DropoutPart& part = {});

}  // namespace lexel::ar
