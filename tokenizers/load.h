#pragma once

#include <ATen/core/Tensor.h>
#include <memory>
#include <string>

#include "tokenizers/image_tokenizer.h"

namespace lexel {

/// Loads any picture tokenizer from its model file; the kind in the file picks the adapter.
///
/// device   as resolve_device
/// throws   what read_model_file, vit_vqgan_model and resolve_device throw; Error(kUnsupported) a kind this
///          build does not know
std::unique_ptr<ImageTokenizer> load_image_tokenizer(const std::string& path,
                                                     const std::string& device = "auto");

/// "cpu", "cuda" (the first one), "cuda:1", or "auto" (a GPU where there is one) as a device.
///
/// throws   Error(kUsage) another text; Error(kUnsupported) no such device here
at::Device resolve_device(const std::string& device);

}  // namespace lexel
