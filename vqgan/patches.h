#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

namespace lexel::vqgan {

/// Non-overlapping patches, row-major; within a patch the order is channel, row, column.
///
/// images   (B, C, h P, w P)
/// returns  (B, h w, C P P)
at::Tensor to_patches(const at::Tensor& images, int64_t patch_size);

/// The inverse.
///
/// patches  (B, grid_height * grid_width, C P P)
/// returns  (B, C, grid_height P, grid_width P)
at::Tensor from_patches(const at::Tensor& patches, int64_t grid_height, int64_t grid_width,
                        int64_t patch_size);

}  // namespace lexel::vqgan
