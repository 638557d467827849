#include "vqgan/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <cmath>

#include "vqgan/losses.h"
#include "vqgan/patches.h"

namespace lexel::vqgan {
namespace {

int64_t output_maps(const Config& config) { return config.output == "rgb" ? 3 : 6; }

}  // namespace

void list_decoder(Decoder& decoder, const Config& config, ParameterList& list) {
  const int64_t patch_pixels = config.patch_size * config.patch_size;
  const int64_t tokens =
      (config.image_size / config.patch_size) * (config.image_size / config.patch_size);
  const bool refine = config.refine_width > 0;
  // Unit codes have entries of about 1 / sqrt(code_width): tokens start at a spread of 2 / sqrt(code_width).
  list_linear("decoder.code", decoder.code, config.decoder.width, config.code_width, true,
              2.0 / std::sqrt(static_cast<double>(config.code_width)), "decoder", list);
  list.push_back({"decoder.positions",
                  {tokens, config.decoder.width},
                  Init::normal(0.02),
                  &decoder.positions,
                  "decoder",
                  /*decay=*/false,
                  /*trained=*/config.positions == "learned"});
  const int64_t cells =
      refine ? patch_pixels / (config.conv_stride * config.conv_stride) : patch_pixels;
  list_stack("decoder", decoder.stack, config.decoder,
             cells * (refine ? config.refine_width : output_maps(config)),
             /*zero_head=*/config.linear_path && !refine, "decoder", list);
  if (config.linear_path) {
    list_linear("decoder.linear_path", decoder.linear_path, 3 * patch_pixels, config.code_width - 1,
                true, 1.0 / std::sqrt(3.0 * static_cast<double>(config.code_width)), "linear_path",
                list);
  }
  if (!refine) return;
  const int64_t cell_pixels = config.conv_stride * config.conv_stride;
  if (config.linear_path) {
    list_conv("decoder.refine.in", decoder.refine.in, config.refine_width, 3 * cell_pixels,
              /*zero=*/false, "decoder", list);
  }
  list_residual_blocks("decoder.refine.blocks", decoder.refine.blocks, config.refine_depth,
                       config.refine_width, "decoder", list);
  list_conv("decoder.refine.out", decoder.refine.out, output_maps(config) * cell_pixels,
            config.refine_width, /*zero=*/config.linear_path, "decoder", list);
}

at::Tensor decode_codes(const Decoder& decoder, const Config& config, const at::Tensor& codes,
                        int64_t grid_height, int64_t grid_width, at::ScalarType compute,
                        const BlockRunner* runner) {
  const auto positions = positions_for_grid(decoder.positions, grid_height, grid_width);
  const auto tokens =
      apply_linear(decoder.code, codes.to(compute)).to(residual_type(compute)) + positions;
  const auto patches = run_stack(decoder.stack, config.decoder, tokens, compute, runner);

  at::Tensor linear;  // (B, 3, H, W), undefined without the linear path
  if (config.linear_path) {
    // Divided by its constant component, a code is the PCA again; 0.1 bounds it where training went astray.
    const auto coefficients = codes.narrow(-1, 0, config.code_width - 1) /
                              codes.narrow(-1, config.code_width - 1, 1).clamp_min(0.1);
    linear = from_patches(apply_linear(decoder.linear_path, coefficients), grid_height, grid_width,
                          config.patch_size);
  }

  at::Tensor output;
  if (config.refine_width > 0) {
    auto cells = from_patches(patches.to(compute), grid_height, grid_width,
                              config.patch_size / config.conv_stride);  // (B, C, H / s, W / s)
    if (config.linear_path) {
      cells = cells + apply_conv(decoder.refine.in,
                                 at::pixel_unshuffle(linear.to(compute), config.conv_stride));
    }
    cells = at::gelu(run_residual_blocks(decoder.refine.blocks, cells), "tanh");
    output = at::pixel_shuffle(apply_conv(decoder.refine.out, cells), config.conv_stride)
                 .to(residual_type(compute));
  } else {
    output = from_patches(patches, grid_height, grid_width, config.patch_size);
  }
  if (config.linear_path) output = output + linear;
  return config.output == "rgb" ? output + config.pixel_center : output;
}

at::Tensor output_pictures(const Config& config, const at::Tensor& output) {
  if (config.output == "rgb") return output;
  return logit_laplace_reconstruction(output);
}

}  // namespace lexel::vqgan
