#pragma once

#include <ATen/core/Tensor.h>
#include <vector>

#include "kernels/parameters.h"
#include "spae/config.h"
#include "vqgan/transformer.h"

namespace lexel::spae {

/// A convolution without gain: weight (out, in, k, k), padded to keep the size.
struct Convolution {
  at::Tensor weight;
  at::Tensor bias;  // (out), or undefined: none
};

/// shortcut(x) + second(swish(norm(first(swish(norm(x)))))); the shortcut is a 1 x 1 convolution where channels change.
struct CnnBlock {
  vqgan::LayerNorm first_norm, second_norm;
  Convolution first, second;
  Convolution shortcut;  // undefined where channels stay
};

/// Blocks at one resolution, and the convolution after the upsampling to the next finer one (decoder only).
struct CnnScale {
  std::vector<CnnBlock> blocks;
  Convolution up;
};

struct CnnEncoder {
  Convolution in;
  std::vector<CnnScale> scales;  // finest first; an average pool between two
  std::vector<CnnBlock> middle;
  vqgan::LayerNorm norm;
  Convolution out;  // 1 x 1, to code_width
};

struct CnnDecoder {
  Convolution in;
  std::vector<CnnBlock> middle;
  std::vector<CnnScale> scales;  // coarsest first; nearest upsampling and a convolution between two
  vqgan::LayerNorm norm;
  Convolution out;  // to the three colours
};

/// The convolutional body.
/// source   MAGVIT's VQGAN-2D (github.com/google-research/magvit, enc_dec_2dcnn): group norm, swish, average pool down, nearest
///          and convolution up, no attention, blocks' convolutions without bias. SPAE's paper speaks of 59 M parameters
///          (from memory); ours has 51.7 M at a code width of 32 and 59.4 M at 1536, that of ada-002's embedding.
struct CnnBody {
  CnnEncoder encoder;
  CnnDecoder decoder;
};

void list_cnn_encoder(CnnBody& body, const Config& config, ParameterList& list);
void list_cnn_decoder(CnnBody& body, const Config& config, ParameterList& list);

/// images   (B, 3, S, S) float32 in [0, 1]
/// returns  (B, P, D) float32
at::Tensor cnn_latents(const CnnBody& body, const Config& config, const at::Tensor& images,
                       at::ScalarType compute);

/// inputs   (B, P, D + M) float32, see decoder_input
/// returns  (B, 3, S, S) float32, not clamped
at::Tensor cnn_pictures(const CnnBody& body, const Config& config, const at::Tensor& inputs,
                        at::ScalarType compute);

}  // namespace lexel::spae
