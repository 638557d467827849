#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/parameters.h"
#include "vqgan/config.h"
#include "vqgan/convolution.h"
#include "vqgan/transformer.h"

namespace lexel::vqgan {

/// Pictures to latents: [stem] -> patch embedding + positions -> transformer -> code_width numbers
/// a token.
struct Encoder {
  ConvStage stem;        // config.stem_width > 0
  Linear patch;          // (D, 3 P P), or of the stem's cells
  at::Tensor positions;  // (N, D)
  Stack stack;           // ends at code_width
  Linear linear_path;    // (code_width - 1, 3 P P), config.linear_path
};

void list_encoder(Encoder& encoder, const Config& config, ParameterList& list);

/// Latents as the network gives them, not normalised.
///
/// images   (B, 3, H, W) float32 in [0, 1]; H and W multiples of patch_size
/// runner   as of run_stack
/// returns  (B, N, code_width) float32
/// source   Yu et al. 2021, arXiv:2110.04627, sections 3.1 and 3.2 (linear map to the code's width)
at::Tensor encode_latents(const Encoder& encoder, const Config& config, const at::Tensor& images,
                          at::ScalarType compute, const BlockRunner* runner = nullptr);

}  // namespace lexel::vqgan
