#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "kernels/parameters.h"
#include "vqgan/config.h"
#include "vqgan/decoder.h"
#include "vqgan/encoder.h"
#include "vqgan/quantizer.h"

namespace lexel::vqgan {

/// ViT-VQGAN: pictures (B, 3, H, W) in [0, 1] to codebook ids and back.
struct Model {
  Config config;
  Encoder encoder;
  Quantizer quantizer;
  Decoder decoder;
};

/// A fresh model: float32 on `device`, its values given by `seed` alone.
Model make_model(const Config& config, uint64_t seed, at::Device device);

/// Every tensor of the model, in file order.
ParameterList parameters(Model& model);

/// What one training forward pass gives.
struct Forward {
  at::Tensor latents;    // (B, N, code_width) float32, before quantisation (normalised if the config says so)
  at::Tensor codes;      // (B, N, code_width) float32, the chosen codes (normalised likewise); gradient to the codebook
  at::Tensor ids;        // (B, N) int64
  at::Tensor output;     // (B, 3 or 6, H, W) float32, raw decoder output
  at::Tensor pictures;   // (B, 3, H, W) float32, the reconstruction, not clamped for "rgb"
};

/// One differentiable pass with the straight-through estimator.
///
/// images   (B, 3, H, W) float32 in [0, 1]; H and W multiples of patch_size (positions are resampled
///          for a grid that is not the model's own)
/// compute  dtype of matrix products: kFloat or kBFloat16
/// quantized  (B, N) bool, optional: tokens where it is false pass the latent itself to the decoder
Forward forward(const Model& model, const at::Tensor& images, at::ScalarType compute,
                const at::Tensor& quantized = {});

/// Ids of pictures; no gradient. images (B, 3, H, W) float32 in [0, 1]; returns (B, N) int64, row-major grid.
at::Tensor encode(const Model& model, const at::Tensor& images);

/// Pictures of ids; no gradient. ids (B, N) int64 in [0, K), a grid_height x grid_width grid each;
/// returns (B, 3, H, W) float32 in [0, 1].
/// throws   Error(kUsage) on a wrong shape, Error(kBadData) on an id past the codebook
at::Tensor decode(const Model& model, const at::Tensor& ids, int64_t grid_height, int64_t grid_width);

}  // namespace lexel::vqgan
