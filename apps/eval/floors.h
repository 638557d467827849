#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

namespace lexel::eval {

// The pictures that a tokenizer must beat. A healthy-looking run can draw nothing but the first.

/// Each patch replaced by its mean colour.
///
/// pictures   (B, 3, H, W) float32 in [0, 1], sides multiples of patch_size
at::Tensor mosaic(const at::Tensor& pictures, int64_t patch_size);

/// Each patch replaced by the nearest of K fixed patches: vector quantization without a network, at the same
/// number of bits.
///
/// centres    (K, 3 P P) float32 in [0, 1], in the order of vqgan::to_patches
/// throws     Error(kUsage) when the width is not that of a patch
at::Tensor nearest_patches(const at::Tensor& pictures, const at::Tensor& centres,
                           int64_t patch_size);

/// Centres as `lexel train tokenizer` leaves them in its run folder: a safetensors file with `centres`.
///
/// throws   Error(kIo), Error(kBadData) naming the file
at::Tensor read_patch_centres(const std::string& path);

}  // namespace lexel::eval
