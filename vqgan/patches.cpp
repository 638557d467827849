#include "vqgan/patches.h"

namespace lexel::vqgan {

at::Tensor to_patches(const at::Tensor& images, int64_t patch_size) {
  const int64_t batch = images.size(0), channels = images.size(1);
  const int64_t h = images.size(2) / patch_size, w = images.size(3) / patch_size;
  return images.reshape({batch, channels, h, patch_size, w, patch_size})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({batch, h * w, channels * patch_size * patch_size});
}

at::Tensor from_patches(const at::Tensor& patches, int64_t grid_height, int64_t grid_width,
                        int64_t patch_size) {
  const int64_t batch = patches.size(0);
  const int64_t channels = patches.size(2) / (patch_size * patch_size);
  return patches.reshape({batch, grid_height, grid_width, channels, patch_size, patch_size})
      .permute({0, 3, 1, 4, 2, 5})
      .reshape({batch, channels, grid_height * patch_size, grid_width * patch_size});
}

}  // namespace lexel::vqgan
