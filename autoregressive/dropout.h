#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string_view>

namespace lexel::ar {

/// x with a share `rate` of its values set to 0 and the others divided by 1 - rate. Which ones depends on (seed, step, site)
/// and on the place in x, nothing else: not on threads, and a pass that is repeated drops the same. The rate is rounded to
/// 1 / 65536, and the division by what remains is by that.
///
/// x        float32, bfloat16 or float64, contiguous
/// rate     in [0, 1); 0 gives x itself
/// site     names the place in the model
/// source   Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"
at::Tensor dropout(const at::Tensor& x, double rate, uint64_t seed, std::string_view site,
                   int64_t step);

}  // namespace lexel::ar
