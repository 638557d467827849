#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <type_traits>

#include "kernels/parameters.h"
#include "vqgan/perceptual.h"
#include "vqgan/transformer.h"

namespace lexel::spae {

/// Says which words tell what a picture shows. The paper's is CLIP; whoever has another picture-text score gives it here, or
/// as a file of scores (apps/train/spae).
class SemanticGuide {
 public:
  virtual ~SemanticGuide() = default;

  /// Higher is better. Only order and distances within one picture's row count.
  ///
  /// images   (B, 3, H, W) float32 in [0, 1]
  /// returns  (B, K) float32, a column for each word of the codebook
  virtual at::Tensor scores(const at::Tensor& images) const = 0;
};

/// A dual encoder in the place of CLIP, in full. Saved in every guide file.
struct GuideConfig {
  int64_t image_size = 160;  // pixels a side that pictures are scaled to for the eye
  int64_t hidden = 512;      // of the two-layer net from features to word space
  int64_t word_width = 384;  // S: of the words' semantics
  double clamp = 5.0;        // standardised features end here
  double class_share =
      0.5;  // of a photo's scores, how much comes from class names; of drawings none
  double class_temperature = 2.0;  // of the classes' softmax
  int64_t classes = 100;           // the likeliest so many count
};

template <class AnyConfig, class Visitor>
requires std::is_same_v<std::remove_const_t<AnyConfig>, GuideConfig>
void visit_fields(AnyConfig& c, Visitor&& visitor) {
  visitor(std::string("image_size"), c.image_size);
  visitor(std::string("hidden"), c.hidden);
  visitor(std::string("word_width"), c.word_width);
  visitor(std::string("clamp"), c.clamp);
  visitor(std::string("class_share"), c.class_share);
  visitor(std::string("class_temperature"), c.class_temperature);
  visitor(std::string("classes"), c.classes);
}

/// Throws Error(kUsage) naming the field and the value that cannot be.
void validate(const GuideConfig& config);

/// Frozen features of a picture at several depths, and a small net from them into the space of words.
///
/// Class names help where the eye was taught, on photos (ConSE: the mean of their vectors, weighted by the classes'
/// likelihoods), and mislead on drawings, so the net also says how much of a photo a picture is.
/// source   Norouzi et al. 2014, arXiv:1312.5650 (ConSE)
struct DualEncoder {
  GuideConfig config;
  vqgan::PerceptualNet eye;  // frozen
  at::Tensor feature_mean;   // (1728) of the training pictures' features
  at::Tensor feature_scale;  // (1728) 1 / standard deviation
  vqgan::Linear hidden;      // (hidden, 1728)
  vqgan::Linear out;     // (S + 1, hidden): the picture's vector; whether it is a photo (a logit)
  at::Tensor log_scale;  // (1) of the softmax over words in training
  at::Tensor class_vectors;  // (1000, S) unit rows, centred as the words are
};

/// A guide without memory, for files.
DualEncoder dual_encoder_layout(const GuideConfig& config);

/// All tensors but the eye's: what a training changes, and the tables beside it.
ParameterList parameters(DualEncoder& guide);
/// The eye's as well, as "eye.NAME": what a file holds.
ParameterList all_parameters(DualEncoder& guide);

/// What the eye sees, no gradient.
///
/// images   (B, 3, H, W) float32 in [0, 1], scaled to image_size (bilinear, antialiased) where they are of another size
/// returns  (B, 1728) float32
at::Tensor guide_features(const DualEncoder& guide, const at::Tensor& images);

/// Features as the net takes them: standardised, clamped. (B, 1728)
at::Tensor standardised(const DualEncoder& guide, const at::Tensor& features);

struct GuideView {
  at::Tensor vectors;  // (B, S) float32, unit rows
  at::Tensor photo;    // (B) logits: is it a photo?
};

/// The net itself, differentiable.
///
/// inputs       (B, 1728) standardised features
/// hidden_mask  (B, hidden) to multiply the hidden layer with (dropout), or undefined
GuideView look(const DualEncoder& guide, const at::Tensor& inputs,
               const at::Tensor& hidden_mask = {});

/// Scores of words for pictures whose features are known; no gradient.
///
/// features   (B, 1728) as guide_features gives them
/// semantics  (K, S) float32, unit rows: LexicalCodebook::semantics
/// returns    (B, K): (1 - share) picture . word + share class names . word, with share = class_share * p(photo)
at::Tensor guide_scores(const DualEncoder& guide, const at::Tensor& features,
                        const at::Tensor& semantics);

/// The dual encoder as a guide for one list of words.
class DualEncoderGuide : public SemanticGuide {
 public:
  /// semantics  (K, S) float32, unit rows
  /// throws     Error(kUsage) rows of another width
  DualEncoderGuide(DualEncoder guide, at::Tensor semantics);
  at::Tensor scores(const at::Tensor& images) const override;
  const DualEncoder& encoder() const { return guide_; }

 private:
  DualEncoder guide_;
  at::Tensor semantics_;
};

}  // namespace lexel::spae
