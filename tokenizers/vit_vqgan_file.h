#pragma once

#include <ATen/core/Tensor.h>
#include <string>

#include "tokenizers/io/model_file.h"
#include "tokenizers/io/preprocess.h"
#include "vqgan/model.h"

namespace lexel {

/// A ViT-VQGAN as a model file, ready for write_model_file.
///
/// preprocess  its image_size is the model's
/// provenance  JSON object, see model_file.h
/// stored      as store_parameters has it
/// throws      Error(kUsage) another image size; what store_parameters throws
ModelFile vit_vqgan_file(const vqgan::Model& model, const Preprocess& preprocess,
                         const std::string& provenance = "{}", const std::string& license = "",
                         at::ScalarType stored = at::kFloat);

/// The inverse: float32 on `device`. Nothing is allocated before config and shapes agree.
///
/// name     stands for the file in messages
/// throws   Error(kUnsupported) another kind; Error(kBadData) naming the key: a config or preprocess that
///          cannot be, a tensor missing, unexpected, of another shape or dtype, or not finite
vqgan::Model vit_vqgan_model(const ModelFile& file, const std::string& name, at::Device device);

/// What token files of this model carry.
std::string codebook_fingerprint(const vqgan::Model& model);

}  // namespace lexel
