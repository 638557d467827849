#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

namespace lexel::kernels {

struct PyramidOptions {
  bool streaming_average = true;  // false: residuals
  bool count = false;             // also count how often each layer chose each code
};

struct PyramidMatch {
  at::Tensor
      ids;  // (B, T) int64 in [0, K): layer by layer, in the order of its positions; T: all of them together
  at::Tensor sums;    // (B, P, D) float32: of the codes chosen at each position
  at::Tensor visits;  // (P) int64, CPU: how many these are
  at::Tensor counts;  // (L, K) int64; only if asked for
};

/// Codes chosen layer by layer at the positions of a grid. With n codes of sum s so far at a position of latent z, its next
/// layer chooses the code with the largest product with (n + 1) z - s (streaming average) or z - s (residual), of equal
/// codes the lowest; both are the nearest code where all codes have one length. A position waits for none but its own
/// earlier layers, so there are as many look-ups as a position has visits at most (3 for SPAE's six layers), each of
/// all positions that have so many. Look-ups are codebook_lookup's, with its margin between near ties; what a latent
/// that is not finite chooses is in [0, K) and not counted. A picture's result depends on no other picture.
///
/// latents  (B, P, D) float32, contiguous, CPU or CUDA
/// codes    (K, D) float32, contiguous, same device, without gradient
/// layers   positions in [0, P) of each layer, each once within a layer
/// throws   Error(kUsage) as codebook_lookup; a position that is out of range or twice in a layer
/// source   Yu et al. 2023, arXiv:2306.17842, section 3.1 (Streaming Average Quantization)
PyramidMatch pyramid_lookup(const at::Tensor& latents, const at::Tensor& codes,
                            const std::vector<std::vector<int64_t>>& layers,
                            const PyramidOptions& options = {});

/// The meaning of pyramid_lookup: layer after layer, float64 throughout, in ATen; same arguments and results.
PyramidMatch pyramid_lookup_reference(const at::Tensor& latents, const at::Tensor& codes,
                                      const std::vector<std::vector<int64_t>>& layers,
                                      const PyramidOptions& options = {});

}  // namespace lexel::kernels
