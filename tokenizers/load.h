#pragma once

#include <memory>
#include <string>

#include "tokenizers/image_tokenizer.h"

namespace lexel {

/// Loads any picture tokenizer from its model file; the kind in the file picks the adapter.
///
/// device   "cpu", "cuda", "cuda:1" or "auto" (a GPU where there is one)
/// throws   what read_model_file throws; Error(kUnsupported) a kind this build does not know, or no such device
std::unique_ptr<ImageTokenizer> load_image_tokenizer(const std::string& path,
                                                     const std::string& device = "auto");

}  // namespace lexel
