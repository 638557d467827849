#include "vqgan/encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <cmath>

#include "vqgan/patches.h"

namespace lexel::vqgan {

void list_encoder(Encoder& encoder, const Config& config, ParameterList& list) {
  const int64_t patch_pixels = 3 * config.patch_size * config.patch_size;
  const int64_t tokens =
      (config.image_size / config.patch_size) * (config.image_size / config.patch_size);
  int64_t inputs = patch_pixels;
  if (config.stem_width > 0) {
    const int64_t cells = config.patch_size / config.conv_stride;
    list_conv("encoder.stem.in", encoder.stem.in, config.stem_width,
              3 * config.conv_stride * config.conv_stride, /*zero=*/false, "encoder", list);
    list_residual_blocks("encoder.stem.blocks", encoder.stem.blocks, config.stem_depth,
                         config.stem_width, "encoder", list);
    inputs = config.stem_width * cells * cells;
  }
  list_linear("encoder.patch", encoder.patch, config.encoder.width, inputs, true,
              1.0 / std::sqrt(3.0 * static_cast<double>(inputs)), "encoder", list);
  list.push_back({"encoder.positions",
                  {tokens, config.encoder.width},
                  Init::normal(0.02),
                  &encoder.positions,
                  "encoder",
                  /*decay=*/false,
                  /*trained=*/config.positions == "learned"});
  list_stack("encoder", encoder.stack, config.encoder, config.code_width,
             /*zero_head=*/config.linear_path, "encoder", list);
  if (config.linear_path) {
    list_linear("encoder.linear_path", encoder.linear_path, config.code_width - 1, patch_pixels,
                true, 1.0 / std::sqrt(3.0 * static_cast<double>(patch_pixels)), "linear_path",
                list);
  }
}

at::Tensor encode_latents(const Encoder& encoder, const Config& config, const at::Tensor& images,
                          at::ScalarType compute, const BlockRunner* runner) {
  const auto centred = images - config.pixel_center;
  const auto patches = to_patches(centred, config.patch_size);  // (B, N, 3 P P)
  at::Tensor inputs = patches.to(compute);
  if (config.stem_width > 0) {
    auto cells =
        apply_conv(encoder.stem.in, at::pixel_unshuffle(centred.to(compute), config.conv_stride));
    cells = at::gelu(run_residual_blocks(encoder.stem.blocks, cells), "tanh");
    inputs = to_patches(cells, config.patch_size / config.conv_stride);
  }
  const auto positions = positions_for_grid(encoder.positions, images.size(2) / config.patch_size,
                                            images.size(3) / config.patch_size);
  const auto tokens =
      apply_linear(encoder.patch, inputs).to(residual_type(compute)) + positions;  // (B, N, D)
  auto latents = run_stack(encoder.stack, config.encoder, tokens, compute, runner);
  if (config.linear_path) {
    // [PCA of the patch, 1]: normalised, the constant keeps the length of the rest (tokenizer study).
    const auto linear = apply_linear(encoder.linear_path, patches);
    latents = latents + at::cat(at::TensorList{linear, at::ones_like(linear.narrow(-1, 0, 1))}, -1);
  }
  return latents;
}

}  // namespace lexel::vqgan
