#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <vector>

#include "spae/model.h"
#include "spae/semantic_guide.h"

namespace lexel::eval {

/// What SPAE made of pictures, layer by layer. "Of n layers" is a picture drawn from its first n layers of words.
struct Layerwise {
  at::Tensor ids;                               // (pictures, tokens) int64
  std::vector<std::vector<double>> psnr, ssim;  // of n = 1 .. L layers, a number a picture
  std::vector<double> mosaic_psnr, mosaic_ssim;
  at::Tensor seen;  // (pictures, F) what the eye sees of the originals; undefined without an eye
  std::vector<at::Tensor> seen_drawn;  // the same of n layers
  at::Tensor seen_mosaic;              // and of the mosaic
  std::vector<double>
      scores;  // of each layer: mean guide score of its words, 0..1 a picture; empty without a guide
  std::vector<std::vector<at::Tensor>>
      sheet;  // rows of (3, S, S): original, mosaic, n = 1 .. L layers
};

/// Side of the mosaic's patches, pixels: what each picture must beat.
inline constexpr int64_t kMosaicPatch = 8;

/// Encodes pictures and draws them from every number of layers.
///
/// eye       sees what the model's upper layers are told, and measures distances; null: a model without features
/// guide     scores words; null: none
/// picture   gives picture 0 .. count - 1, (3, S, S) float32 in [0, 1]
/// rows      of the sheet, spread over the pictures
/// done      is called after each batch with its size
Layerwise layerwise(const spae::Model& model, const spae::DualEncoder* eye,
                    const spae::DualEncoderGuide* guide, int64_t count,
                    const std::function<at::Tensor(int64_t)>& picture, int64_t rows,
                    const std::function<void(int64_t)>& done);

}  // namespace lexel::eval
