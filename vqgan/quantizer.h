#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/parameters.h"
#include "vqgan/config.h"

namespace lexel::vqgan {

struct Quantizer {
  at::Tensor codebook;  // (K, code_width), normalised when used, not as stored
};

void list_quantizer(Quantizer& quantizer, const Config& config, ParameterList& list);

/// x / max(||x||, 1e-12) along the last axis; x itself unless the config normalises.
at::Tensor normalized(const Config& config, const at::Tensor& x);

/// Nearest code of each latent, both normalised if the config says so; no gradient.
///
/// latents  (B, N, code_width) float32
/// codes    (K, code_width) float32
/// returns  (B, N) int64
at::Tensor nearest_ids(const Config& config, const at::Tensor& latents, const at::Tensor& codes);

struct Quantized {
  at::Tensor latents;  // (B, N, code_width) float32, normalised if the config says so
  at::Tensor codes;    // the chosen codes, likewise; gradient to the codebook only
  at::Tensor ids;      // (B, N) int64
  at::Tensor
      straight_through;  // the value of `codes`, the gradient of `latents`: what the decoder gets
};

/// Nearest code of each latent, by cosine where codes are normalised, else by L2.
///
/// latents    (B, N, code_width) float32, as the encoder gives them
/// quantized  (B, N) bool, optional: where false, straight_through is the latent itself
/// throws     Error(kUsage) on another shape of the mask
/// source     Yu et al. 2021, arXiv:2110.04627, section 3.2; van den Oord et al. 2017, arXiv:1711.00937,
///            section 3.1 (straight-through)
Quantized quantize(const Quantizer& quantizer, const Config& config, const at::Tensor& latents,
                   const at::Tensor& quantized = {});

/// The codes of ids, normalised if the config says so, without gradient.
///
/// ids      (B, N) int64 in [0, K), trusted
/// returns  (B, N, code_width) float32
at::Tensor codes_of(const Quantizer& quantizer, const Config& config, const at::Tensor& ids);

}  // namespace lexel::vqgan
