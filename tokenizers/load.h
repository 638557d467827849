#pragma once

#include <memory>
#include <string>

#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/model_file.h"

namespace lexel {

/// Loads any picture tokenizer from its model file; the kind in the file picks the adapter.
///
/// device   "cpu", "cuda", "cuda:1" or "auto" (a GPU where there is one): see kernels/device.h
/// throws   what resolve_device, read_model_file, vit_vqgan_model and spae_model throw; Error(kUnsupported) a kind that
///          this build does not know
std::unique_ptr<ImageTokenizer> load_image_tokenizer(const std::string& path,
                                                     const std::string& device = "auto");

/// The same from a model file that has been read.
///
/// name     stands for the file in messages
/// device   as resolve_device gives it
std::unique_ptr<ImageTokenizer> make_image_tokenizer(const ModelFile& file, const std::string& name,
                                                     at::Device device);

}  // namespace lexel
