#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/parameters.h"
#include "spae/config.h"
#include "vqgan/decoder.h"
#include "vqgan/encoder.h"

namespace lexel::spae {

/// The transformer body: the halves of a ViT-VQGAN whose codes are as wide as all positions of a patch together.
struct VitBody {
  vqgan::Encoder encoder;
  vqgan::Decoder decoder;
};

/// What the halves are: 64 patches of 16 pixels with 2 x 2 positions each have codes of 4 D.
vqgan::Config vit_encoder_config(const Config& config);
vqgan::Config vit_decoder_config(const Config& config);  // of D + mark_width numbers a position

void list_vit_encoder(VitBody& body, const Config& config, ParameterList& list);
void list_vit_decoder(VitBody& body, const Config& config, ParameterList& list);

/// images   (B, 3, S, S) float32 in [0, 1]
/// returns  (B, P, D) float32: depth to space, position (r, c) of a patch from the numbers (r, c) of its token
at::Tensor vit_latents(const VitBody& body, const Config& config, const at::Tensor& images,
                       at::ScalarType compute);

/// inputs   (B, P, D + M) float32, see decoder_input
/// returns  (B, 3, S, S) float32, not clamped
at::Tensor vit_pictures(const VitBody& body, const Config& config, const at::Tensor& inputs,
                        at::ScalarType compute);

}  // namespace lexel::spae
