#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <vector>

#include "kernels/parameters.h"
#include "spae/cnn.h"
#include "spae/config.h"
#include "spae/lexical_codebook.h"
#include "spae/pyramid.h"
#include "spae/quantizer.h"
#include "spae/semantic_path.h"
#include "spae/vit.h"

namespace lexel::spae {

/// SPAE: pictures (B, 3, H, W) in [0, 1] to words in layers and back. One of the bodies is in use, as the config says.
struct Model {
  Config config;
  Pyramid pyramid;
  LexicalCodebook codebook;  // frozen
  CnnBody cnn;
  VitBody vit;
  SemanticPath semantic_path;  // config.feature_width > 0
};

/// A fresh model on this codebook: float32 on `device`, its values given by `seed` alone.
/// throws   Error(kUsage) as validate(config), validate(codebook), or a codebook that does not fit the config
Model make_model(const Config& config, LexicalCodebook codebook, uint64_t seed, at::Device device);

/// A model without memory: parameters() gives names and shapes, every tensor is undefined.
Model model_layout(const Config& config);

/// Every tensor of the model, in file order: "encoder", "semantic_path", "words.codes" (never trained), "decoder"; the groups are
/// "encoder", "semantic_path", "words" and "decoder".
ParameterList parameters(Model& model);

struct ForwardOptions {
  at::ScalarType compute = at::kFloat;  // of matrix products and convolutions: kFloat or kBFloat16
  at::Tensor features =
      {};  // (B, F) float32: frozen, config.feature_width wide; undefined when that is 0
  std::vector<int64_t> layers =
      {};  // that the decoder sees: one for all pictures or one a picture; empty: all layers
  double quantization =
      1.0;  // 0: the decoder gets the latents, 1: the words; between: both, for a warm-up
};

/// What one training forward pass gives.
struct Forward {
  at::Tensor latents;  // (B, P, D) float32, as quantized: unit rows if the config says so
  std::vector<LayerChoice> choices;  // of all layers
  at::Tensor pictures;               // (B, 3, H, W) float32, the reconstruction, not clamped
};

/// One differentiable pass, straight through the choices of words.
///
/// images   (B, 3, image_size, image_size) float32 in [0, 1]
/// throws   Error(kUsage) on another shape, dtype or option; features missing or not wanted
/// source   straight-through: van den Oord et al. 2017, arXiv:1711.00937, section 3.1
Forward forward(const Model& model, const at::Tensor& images, const ForwardOptions& options);

/// Latents alone, differentiable: forward() without words and decoder.
///
/// returns  (B, P, D) float32
at::Tensor encode_latents(const Model& model, const at::Tensor& images, const at::Tensor& features,
                          at::ScalarType compute);

/// Ids of pictures; no gradient, float32 throughout. On the CPU row k depends on picture k alone, bit for bit, and not on the
/// number of threads.
///
/// images    as above
/// features  (B, F) float32, or undefined where the config has none
/// layers    how many; 0: all
/// returns   (B, tokens) int64, layer by layer, each in raster order
at::Tensor encode(const Model& model, const at::Tensor& images, const at::Tensor& features = {},
                  int64_t layers = 0);

/// Pictures of any prefix of layers; no gradient; the same promise as encode().
///
/// ids      (B, tokens of 1 .. all layers) int64 in [0, K)
/// returns  (B, 3, image_size, image_size) float32 in [0, 1]
/// throws   Error(kUsage) on a wrong rank or dtype; Error(kBadData) tokens that end in the middle of a layer, an id past the
///          codebook
at::Tensor decode(const Model& model, const at::Tensor& ids);

}  // namespace lexel::spae
