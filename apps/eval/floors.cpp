#include "apps/eval/floors.h"

#include "kernels/check.h"
#include "kernels/codebook_lookup.h"
#include "tokenizers/io/safetensors.h"
#include "vqgan/patches.h"

namespace lexel::eval {

at::Tensor mosaic(const at::Tensor& pictures, int64_t patch_size) {
  const at::Tensor patches = vqgan::to_patches(pictures, patch_size);  // (B, N, 3 P P)
  const at::Tensor colours = patches.unflatten(2, {3, patch_size * patch_size});
  const at::Tensor flat = colours.mean(3, /*keepdim=*/true).expand_as(colours).flatten(2);
  return vqgan::from_patches(flat, pictures.size(2) / patch_size, pictures.size(3) / patch_size,
                             patch_size);
}

at::Tensor nearest_patches(const at::Tensor& pictures, const at::Tensor& centres,
                           int64_t patch_size) {
  check_arg(centres.dim() == 2 && centres.size(1) == 3 * patch_size * patch_size, "nearest_patches",
            "expected centres of width ", 3 * patch_size * patch_size, ", got ", centres.sizes());
  const at::Tensor patches = vqgan::to_patches(pictures, patch_size);
  const auto match = kernels::codebook_lookup(patches.flatten(0, 1).contiguous(), centres,
                                              kernels::CodeMetric::kL2);
  return vqgan::from_patches(centres.index_select(0, match.ids).view(patches.sizes()),
                             pictures.size(2) / patch_size, pictures.size(3) / patch_size,
                             patch_size);
}

at::Tensor read_patch_centres(const std::string& path) {
  const SafetensorsFile file(path);
  check(file.entries().count("centres") == 1, ErrorKind::kBadData, path,
        ": expected a tensor named centres (lexel train tokenizer leaves it in its run folder)");
  at::Tensor centres = file.tensor("centres");
  check(centres.dim() == 2, ErrorKind::kBadData, path, ": expected centres of rank 2, got ",
        centres.sizes());
  if (centres.scalar_type() == at::kByte) return centres.to(at::kFloat).div(255.0);
  return centres.to(at::kFloat).contiguous();
}

}  // namespace lexel::eval
