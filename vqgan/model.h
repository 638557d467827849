#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>

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
/// throws   Error(kUsage) as validate(config)
Model make_model(const Config& config, uint64_t seed, at::Device device);

/// A model without memory: parameters() gives names and shapes, every tensor is undefined. For
/// counting.
Model model_layout(const Config& config);

/// Every tensor of the model, in file order. Groups: "encoder", "quantizer", "decoder", and
/// "linear_path" for both of its maps. With P = 3 patch_size^2, O = P or 2 P (logit_laplace), N
/// tokens, Z = code_width, and a stack of width D, depth L, inner width I = heads * head_width,
/// hidden F, outputs Q:
///   stack(Q)  L (4 D + 3 I D + 3 I [qkv_bias] + I D + D + 2 D F + F + D) + 2 D + (D^2 + D)
///   [tanh_head]
///             + Q D + Q
///   encoder   P D + D + N D + stack(Z)      decoder   Z D + D + N D + stack(O)      quantizer   K
///   Z
/// With stride s, C channels and M = 3 or 6 maps, what the options change:
///   linear path  + (Z - 1) (P + 1) in the encoder, + Z P in the decoder
///   stem     + 27 s^2 C + C + depth 2 (9 C^2 + C); the patch map becomes C (patch_size / s)^2 D + D
///   refine   + (27 s^2 C + C) [linear path] + depth 2 (9 C^2 + C) + (9 C + 1) M s^2;
///            O becomes C (patch_size / s)^2
ParameterList parameters(Model& model);

/// The same list with nothing but the decoder marked as trained: encoder and codebook stay as they are, so ids
/// do too.
/// source   Yu et al. 2022, arXiv:2206.10789, section 2.1 (Parti's decoder fine-tuning)
ParameterList parameters_for_decoder_finetuning(Model& model);

/// What one training forward pass gives.
struct Forward {
  at::Tensor
      latents;  // (B, N, code_width) float32, before quantisation, normalised if the config says so
  at::Tensor
      codes;  // (B, N, code_width) float32, the chosen codes (likewise); gradient to the codebook
  at::Tensor ids;       // (B, N) int64
  at::Tensor output;    // (B, 3 or 6, H, W) float32, raw decoder output
  at::Tensor pictures;  // (B, 3, H, W) float32, the reconstruction, not clamped for "rgb"
};

/// One differentiable pass with the straight-through estimator.
///
/// images     (B, 3, H, W) float32 in [0, 1]; H and W multiples of patch_size (positions are
/// resampled
///            for a grid that is not the model's own)
/// compute    dtype of matrix products: kFloat or kBFloat16; kDouble for a model and images of float64
///            (tests), where the code look-up alone is float32
/// quantized  (B, N) bool, optional: tokens where it is false pass the latent itself to the decoder
/// runner     as of run_stack
/// throws     Error(kUsage) on another shape or dtype
Forward forward(const Model& model, const at::Tensor& images, at::ScalarType compute,
                const at::Tensor& quantized = {}, const BlockRunner* runner = nullptr);

/// Ids of pictures; no gradient, float32 throughout. On the CPU row k depends on picture k alone,
/// bit for bit, and not on the number of threads.
///
/// images   (B, 3, H, W) float32 in [0, 1]
/// returns  (B, N) int64, row-major grid
/// throws   Error(kUsage) on a wrong shape or dtype
at::Tensor encode(const Model& model, const at::Tensor& images);

/// Pictures of ids; no gradient; the same promise as encode().
///
/// ids      (B, N) int64 in [0, K), a grid_height x grid_width grid each
/// returns  (B, 3, H, W) float32 in [0, 1]
/// throws   Error(kUsage) on a wrong shape, Error(kBadData) on an id past the codebook
at::Tensor decode(const Model& model, const at::Tensor& ids, int64_t grid_height,
                  int64_t grid_width);

}  // namespace lexel::vqgan
