#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace lexel::kernels {

struct SamplingOptions {
  double guidance = 1.0;     // scale of conditional - unconditional; 1: the conditional alone
  double temperature = 1.0;  // divides the logits; 0: the largest logit, the lowest index of equals
  int64_t top_k = 0;         // keeps the so many largest logits; 0: all
  double top_p = 1.0;  // keeps the fewest likeliest tokens whose probabilities sum to at least this
  uint64_t seed = 0;
};

struct Drawn {
  at::Tensor ids;                // (B) int64, in [0, V)
  at::Tensor log_probabilities;  // (B) float32: ln of the probability that the token was drawn with
};

/// One draw a row: guided = unconditional + guidance (conditional - unconditional), divided by the temperature, cut to the
/// top_k largest, then to top_p of what is left, renormalised, drawn. Of equal guided logits the lower index is kept first.
///
/// The draw of a row depends on its logits, the seed, its picture and its position only, so a picture's tokens are the same
/// alone and in any batch. Probabilities are integers and summed exactly: for equal logits every instruction set, thread
/// count and GPU gives the same token and log-probability, bit for bit. Exactly (sampling_arithmetic.h):
///   guided_i   = u + g (c - u), three float32 operations; c where the guidance is 1 or there is no u
///   weight_i   = floor(2^40 e^x), x = (guided_i - largest) * float(1 / temperature); e^x within 2 ulp of float32, so
///                tokens below 2^-40 of the likeliest have weight 0
///   top_p      keeps the fewest tokens, largest guided first, whose weights sum to at least ceil(top_p * sum of weights)
///   draw       the first token, in order of index, whose sum of kept weights up to and with it exceeds
///                floor(r * sum / 2^64), where r is words 4 n and 4 n + 1 of Philox(seed, "sample", picture) for position n
///
/// A token whose guided logit is not finite is never drawn (-infinity hides a token); where none is finite, the id is 0
/// and the log-probability NaN.
///
/// logits         (B, V) float32, contiguous, CPU or CUDA; V in 1..2^20
/// unconditional  same, or undefined: no guidance
/// pictures       (B) int64, contiguous, same device: the number of each row's picture
/// positions      (B) int64, same: which token of its picture, 0..2^32-1. On the CPU another value is an error; on CUDA its
///                low 32 bits count (a check would have to wait for the device)
/// throws         Error(kUsage) on another dtype, shape, device or layout, guidance or temperature not finite in float32 or
///                temperature < 0, top_k outside 0..V, top_p outside (0, 1]
/// source         Ho and Salimans 2022, arXiv:2207.12598, eq. 6; nucleus: Holtzman et al. 2019, arXiv:1904.09751, section 3.1
Drawn sample(const at::Tensor& logits, const at::Tensor& unconditional, const at::Tensor& pictures,
             const at::Tensor& positions, const SamplingOptions& options);

/// The meaning of sample: sorting, one row at a time, in plain C++ on the CPU; same arguments and results, bit for bit.
Drawn sample_reference(const at::Tensor& logits, const at::Tensor& unconditional,
                       const at::Tensor& pictures, const at::Tensor& positions,
                       const SamplingOptions& options);

}  // namespace lexel::kernels
