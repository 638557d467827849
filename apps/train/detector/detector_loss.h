#pragma once

#include <ATen/core/Tensor.h>
#include <vector>

#include "apps/data/compose/scene.h"
#include "apps/eval/detector/detector.h"

namespace lexel::train {

/// What a detector should say of scenes. g = image_size / 8.
struct DetectorTargets {
  at::Tensor heat;        // (B, g, g) float32: 1 in the cell of a thing's middle, less around it
  at::Tensor things;      // (B, g, g) int64: which thing the cell shows, for cells with a weight
  at::Tensor colours;     // (B, g, g) int64
  at::Tensor side;        // (B, g, g) float32: log2(longer side / 32 pixels)
  at::Tensor weight;      // (B, g, g) float32: of the three above; each thing's cells sum to 1
  at::Tensor tinted;      // (B, g, g) float32: the weight, of tinted things only
  at::Tensor background;  // (B, names) float32, 0 or 1
};

/// A thing is told by its middle, and named by the cells of its inner half. Where things overlap, the later
/// one is on top.
///
/// throws   Error(kBadData) a thing, colour or background that the detector has no name for
DetectorTargets targets_of(const std::vector<data::Truth>& truths,
                           const eval::DetectorConfig& config);

/// Parts of the loss, () each.
struct DetectorLoss {
  at::Tensor centre;      // focal loss of the middles, a thing
  at::Tensor thing;       // cross entropy of the names, nats
  at::Tensor colour;      // of the hues of tinted things, nats
  at::Tensor side;        // smooth L1
  at::Tensor background;  // binary cross entropy of the names of backgrounds, a picture
  at::Tensor total() const;
};

/// source   Zhou et al. 2019, "Objects as Points", arXiv:1904.07850, equation 1 (the focal loss)
DetectorLoss detector_loss(const eval::DetectorMaps& maps, const DetectorTargets& targets);

}  // namespace lexel::train
