#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>

#include "apps/train/spae/pictures.h"
#include "spae/semantic_guide.h"

namespace lexel::train {

/// Frozen features of every picture and view, float16 on the CPU; F = vqgan::kDepthFeatures.
struct FeatureBank {
  at::Tensor drawings;           // (drawings, views, F)
  at::Tensor photos;             // (photos, photo views, F)
  at::Tensor held_out_drawings;  // (held out, F)
  at::Tensor held_out_photos;    // (held out, F)
};

/// Computes them, or reads them from `path` if they lie there and are of these pictures, views and eye; writes them there.
///
/// path     empty: neither read nor written
/// throws   Error(kIo); what decoding throws
FeatureBank feature_bank(WordPictures& pictures, const spae::DualEncoder& guide, int64_t views,
                         int64_t photo_views, const std::string& path, bool quiet);

}  // namespace lexel::train
