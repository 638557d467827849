#pragma once

#include <ATen/core/Tensor.h>
#include <memory>
#include <string>

#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/model_file.h"

namespace lexel {

/// A ViT-VQGAN as an ImageTokenizer: float32 throughout, so that row k depends on picture k alone.
///
/// name     path of the model, for messages; info() has its last part
/// throws   what vit_vqgan_model throws
std::unique_ptr<ImageTokenizer> make_vit_vqgan_tokenizer(const ModelFile& file,
                                                         const std::string& name,
                                                         at::Device device);

}  // namespace lexel
