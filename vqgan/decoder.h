#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/parameters.h"
#include "vqgan/config.h"
#include "vqgan/convolution.h"
#include "vqgan/transformer.h"

namespace lexel::vqgan {

/// Codes to pictures: linear map + positions -> transformer -> the pixels of each patch [-> refine].
struct Decoder {
  Linear code;           // (D, code_width)
  at::Tensor positions;  // (N, D)
  Stack stack;           // ends at 3 or 6 P P, or at the refine stage's cells
  Linear linear_path;    // (3 P P, code_width - 1), config.linear_path
  ConvStage refine;      // config.refine_width > 0
};

void list_decoder(Decoder& decoder, const Config& config, ParameterList& list);

/// Raw output of the decoder: 3 maps ("rgb") or 6 (mu, then ln b: "logit_laplace").
///
/// codes    (B, grid_height * grid_width, code_width) float32, normalised if the config says so
/// runner   as of run_stack
/// returns  (B, 3 or 6, H, W) float32
/// source   Yu et al. 2021, arXiv:2110.04627, section 3.1
at::Tensor decode_codes(const Decoder& decoder, const Config& config, const at::Tensor& codes,
                        int64_t grid_height, int64_t grid_width, at::ScalarType compute,
                        const BlockRunner* runner = nullptr);

/// The picture of a raw output: itself ("rgb", not clamped), or
/// clip((sigmoid(mu) - 0.1) / 0.8, 0, 1).
///
/// output   (B, 3 or 6, H, W) float32
/// returns  (B, 3, H, W) float32
/// source   Ramesh et al. 2021, arXiv:2102.12092, appendix A.3
at::Tensor output_pictures(const Config& config, const at::Tensor& output);

}  // namespace lexel::vqgan
