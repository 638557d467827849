#pragma once

#include <ATen/core/Tensor.h>
#include <memory>
#include <string>

#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/model_file.h"
#include "vqgan/upsampler.h"

namespace lexel {

/// An upsampler as a model file of the kind "upsampler", ready for write_model_file.
///
/// provenance  JSON object, see model_file.h
/// stored      as store_parameters has it, and what it throws
ModelFile upsampler_file(const vqgan::Upsampler& upsampler, const std::string& provenance = "{}",
                         const std::string& license = "", at::ScalarType stored = at::kFloat);

/// The inverse: float32 on `device`. Nothing is allocated before config and shapes agree.
///
/// name     stands for the file in messages
/// throws   Error(kUnsupported) another kind; Error(kBadData) naming the key: a config that cannot be, a tensor
///          missing, unexpected, of another shape or dtype
vqgan::Upsampler upsampler_model(const ModelFile& file, const std::string& name, at::Device device);

/// Makes pictures larger: super-resolution for what a tokenizer has drawn.
class PictureUpsampler {
 public:
  /// upsampler  float32; convolutions run in bfloat16 where the device is a GPU
  explicit PictureUpsampler(vqgan::Upsampler upsampler);

  /// Output pixels an input pixel, a side.
  int64_t scale() const { return upsampler_.config.scale; }

  /// images   (B, 3, H, W) in [0, 1], any device
  /// returns  (B, 3, scale * H, scale * W) float32 in [0, 1], on the device of the model; no gradient
  /// throws   Error(kUsage) on another shape
  at::Tensor upscale(const at::Tensor& images) const;

 private:
  vqgan::Upsampler upsampler_;
};

/// The drawing of a picture averaged down by `scale`: what the upsampler is given.
///
/// originals  (B, 3, scale * S, scale * S) float32 in [0, 1], S the tokenizer's side
/// returns    (B, 3, S, S) in [0, 1], on the tokenizer's device; no gradient
at::Tensor draw_small(const ImageTokenizer& tokenizer, const at::Tensor& originals, int64_t scale);

/// device   "cpu", "cuda", "cuda:1" or "auto": see kernels/device.h
/// throws   what resolve_device, read_model_file and upsampler_model throw
std::unique_ptr<PictureUpsampler> load_upsampler(const std::string& path,
                                                 const std::string& device = "auto");

}  // namespace lexel
