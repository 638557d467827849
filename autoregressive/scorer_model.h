#pragma once

#include <ATen/core/Tensor.h>
#include <array>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "autoregressive/transformer.h"
#include "kernels/parameters.h"

namespace lexel::ar {

/// A picture tower and a text tower into one space, in full. Saved in every file of a scorer.
struct ScorerConfig {
  int64_t image_size = 128;  // pixels, square; a multiple of 16
  int64_t text_vocabulary = 16'000;
  int64_t max_text_tokens = 64;  // a longer caption is cut
  int64_t width = 128;           // D, of both towers
  int64_t heads = 4;
  int64_t hidden = 512;              // of the feed-forward layers
  int64_t picture_convolutions = 2;  // residual ones behind the stem
  int64_t picture_depth = 2;         // blocks
  int64_t text_depth = 2;
  int64_t space = 128;  // E, dimensions of the space that both meet in
};

template <class Config, class Visitor>
requires std::is_same_v<std::remove_const_t<Config>, ScorerConfig>
void visit_fields(Config& c, Visitor&& visitor) {
  const auto visit = [&visitor](const char* name, auto& field) {
    visitor(std::string(name), field);
  };
  visit("image_size", c.image_size);
  visit("text_vocabulary", c.text_vocabulary);
  visit("max_text_tokens", c.max_text_tokens);
  visit("width", c.width);
  visit("heads", c.heads);
  visit("hidden", c.hidden);
  visit("picture_convolutions", c.picture_convolutions);
  visit("picture_depth", c.picture_depth);
  visit("text_depth", c.text_depth);
  visit("space", c.space);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const ScorerConfig& config);

struct Convolution {
  at::Tensor weight;  // (out, in, k, k)
  at::Tensor bias;    // (out)
};

/// Contrastive towers: a convolutional stem to one token for each 16 x 16 pixels, residual convolutions (they learn
/// from few pictures what a thing looks like, wherever it stands), blocks, the mean token, a linear map; and embedded
/// pieces, blocks, the mean token, a linear map.
///
/// source   Yu et al. 2022, arXiv:2205.01917 (CoCa), whose captioning decoder a ranking does not need; Xiao
///          et al. 2021, arXiv:2106.14881 (the stem)
struct ScorerModel {
  ScorerConfig config;

  std::array<Convolution, 3> stem;        // strides 4, 2, 2
  std::vector<Convolution> convolutions;  // x += gelu(convolution(x)), (D, D, 3, 3)
  at::Tensor picture_positions;           // (h w, D)
  std::vector<EncoderBlock> picture_blocks;
  LayerNorm picture_norm;
  Linear picture_head;  // (E, D)

  at::Tensor text_embedding;  // (V, D)
  at::Tensor text_positions;  // (M, D)
  std::vector<EncoderBlock> text_blocks;
  LayerNorm text_norm;
  Linear text_head;  // (E, D)

  at::Tensor log_scale;  // (1): cosines are multiplied by exp(log_scale) / 0.07, at most 100
};

/// A fresh model: float32 on `device`, its values given by `seed` alone.
/// throws   Error(kUsage) as validate(config)
ScorerModel make_scorer(const ScorerConfig& config, uint64_t seed, at::Device device);

/// A model without memory: parameters() gives names and shapes, every tensor is undefined.
ScorerModel scorer_layout(const ScorerConfig& config);

/// Every tensor of the model, in file order.
ParameterList parameters(ScorerModel& model);

/// images   (B, 3, image_size, image_size) float32 in [0, 1], on the model's device
/// compute  dtype of matrix products: kFloat or kBFloat16
/// returns  (B, E) float32, rows of length 1; differentiable
/// throws   Error(kUsage) on another shape or dtype
at::Tensor embed_pictures(const ScorerModel& model, const at::Tensor& images,
                          at::ScalarType compute = at::kFloat);

/// ids      (B, m) int64 in [0, V), m in 1..M
/// lengths  (B) int64 in 1..m: what follows is padding
/// returns  (B, E) float32, rows of length 1; differentiable
/// throws   Error(kUsage) on another shape or dtype; Error(kBadData) on an id past the vocabulary
at::Tensor embed_texts(const ScorerModel& model, const at::Tensor& ids, const at::Tensor& lengths,
                       at::ScalarType compute = at::kFloat);

/// Symmetric cross entropy of matching pictures and captions, in nats. Captions behind the first B belong to no picture:
/// every picture must tell its own from them too (hard negatives).
///
/// pictures   (B, E), captions (C, E), C >= B: unit rows; row k of both belongs together
/// log_scale  (1), see ScorerModel
/// ignored    (B, C) bool: pairs that are no match and no mismatch either (a caption that is as true of the
///            other picture); false on the diagonal; undefined: none
/// returns    () float32, the mean of both directions
/// throws     Error(kUsage) on another shape
/// source     Radford et al. 2021, arXiv:2103.00020, figure 3; with hard negatives: Yuksekgonul et al. 2022,
///            arXiv:2210.01936, section 4
at::Tensor contrastive_loss(const at::Tensor& pictures, const at::Tensor& captions,
                            const at::Tensor& log_scale, const at::Tensor& ignored = {});

}  // namespace lexel::ar
