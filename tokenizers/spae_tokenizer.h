#pragma once

#include <ATen/core/Tensor.h>
#include <functional>
#include <memory>
#include <string>

#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/model_file.h"

namespace lexel {

/// Frozen features of pictures, for a model that sees some: (B, 3, S, S) in [0, 1] to (B, F) float32, on the pictures' device,
/// row k by picture k alone.
using PictureFeatures = std::function<at::Tensor(const at::Tensor& images)>;

/// A SPAE as an ImageTokenizer: float32 throughout, so that row k depends on picture k alone. info() has the layers' sides
/// and the words. decode() takes any number of whole layers. A model that sees features refuses encode() without them
/// (Error(kUnsupported)); it draws without.
///
/// name     path of the model, for messages; info() has its last part
/// throws   what spae_model throws
std::unique_ptr<ImageTokenizer> make_spae_tokenizer(const ModelFile& file, const std::string& name,
                                                    at::Device device,
                                                    PictureFeatures features = {});

}  // namespace lexel
