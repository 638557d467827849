#include "spae/vit.h"

#include "spae/pyramid.h"
#include "spae/quantizer.h"

namespace lexel::spae {
namespace {

Pyramid pyramid_of(const Config& config) { return make_pyramid(numbers("sides", config.sides)); }

/// Positions a side of a patch.
int64_t cells_of(const Config& config) {
  return config.vit.patch_size * pyramid_of(config).grid() / config.image_size;
}

vqgan::Config half_of(const Config& config, int64_t width_of_position) {
  const int64_t cells = cells_of(config);
  vqgan::Config half;
  half.image_size = config.image_size;
  half.patch_size = config.vit.patch_size;
  half.encoder = config.vit.encoder;
  half.decoder = config.vit.decoder;
  half.code_width = cells * cells * width_of_position;
  half.pixel_center = config.pixel_center;
  half.conv_stride = config.vit.conv_stride;
  half.stem_width = config.vit.stem_width;
  half.stem_depth = config.vit.stem_depth;
  half.refine_width = config.vit.refine_width;
  half.refine_depth = config.vit.refine_depth;
  return half;
}

}  // namespace

vqgan::Config vit_encoder_config(const Config& config) {
  return half_of(config, config.code_width);
}

vqgan::Config vit_decoder_config(const Config& config) {
  return half_of(config, config.code_width + mark_width(pyramid_of(config)));
}

void list_vit_encoder(VitBody& body, const Config& config, ParameterList& list) {
  vqgan::list_encoder(body.encoder, vit_encoder_config(config), list);
}

void list_vit_decoder(VitBody& body, const Config& config, ParameterList& list) {
  vqgan::list_decoder(body.decoder, vit_decoder_config(config), list);
}

at::Tensor vit_latents(const VitBody& body, const Config& config, const at::Tensor& images,
                       at::ScalarType compute) {
  const vqgan::Config half = vit_encoder_config(config);
  const int64_t patches = config.image_size / config.vit.patch_size;
  const auto tokens =
      vqgan::encode_latents(body.encoder, half, images, compute);  // (B, N, cells^2 D)
  const int64_t cells = cells_of(config);
  return tokens.reshape({tokens.size(0), patches, patches, cells, cells, config.code_width})
      .permute({0, 1, 3, 2, 4, 5})  // (B, patch row, row, patch column, column, D)
      .reshape({tokens.size(0), patches * cells * patches * cells, config.code_width});
}

at::Tensor vit_pictures(const VitBody& body, const Config& config, const at::Tensor& inputs,
                        at::ScalarType compute) {
  const vqgan::Config half = vit_decoder_config(config);
  const int64_t patches = config.image_size / config.vit.patch_size, batch = inputs.size(0);
  const int64_t cells = cells_of(config);
  const auto tokens = inputs.reshape({batch, patches, cells, patches, cells, inputs.size(2)})
                          .permute({0, 1, 3, 2, 4, 5})
                          .reshape({batch, patches * patches, half.code_width});
  return vqgan::decode_codes(body.decoder, half, tokens, patches, patches, compute);
}

}  // namespace lexel::spae
