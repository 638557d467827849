#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <string>
#include <vector>

#include "spae/model.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/io/preprocess.h"

namespace lexel {

/// The name of a codebook of words: SHA-256 over "lexel-words K D" and a newline, the words, each with a newline, their ids
/// (int64) and codes (float32), little-endian. Pictures in its tokens can be drawn by models with this codebook alone.
std::string lexical_fingerprint(const spae::LexicalCodebook& codebook);

/// A SPAE as a model file, ready for write_model_file: its parameters, "words.text" (U8, a JSON array of texts) and
/// "words.ids" (int64). The codes are float32 whatever `stored` is, so that the fingerprint is that of training. Semantics
/// are not in it: nothing that draws needs them.
///
/// preprocess  its image_size is the model's
/// provenance  JSON object, see model_file.h
/// stored      dtype of matrices on disk: kFloat, kBFloat16, kHalf or kChar (int8), as store_parameters takes it
/// throws      Error(kUsage) another dtype or image size; Error(kBadData) a tensor that is not finite once
///             stored (named)
ModelFile spae_file(const spae::Model& model, const Preprocess& preprocess,
                    const std::string& provenance = "{}", const std::string& license = "",
                    at::ScalarType stored = at::kFloat);

/// The inverse: float32 on `device`, its fingerprint filled. Nothing is allocated before config, words and shapes agree. Tensors
/// whose names start with "guide." are another's (the picture-text guide may ride in the same file) and left alone.
///
/// name     stands for the file in messages
/// throws   Error(kUnsupported) another kind; Error(kBadData) naming the key: a config or preprocess that cannot
///          be, words that are no JSON, not UTF-8, twice or of another number, codes that are not of length 1, a tensor
///          missing, unexpected, of another shape or dtype, or not finite
spae::Model spae_model(const ModelFile& file, const std::string& name, at::Device device);

/// The words of a model file of this kind.
///
/// text     the tensor "words.text"
/// throws   Error(kBadData) as above
std::vector<std::string> words_of(const at::Tensor& text, const std::string& name);

}  // namespace lexel
