#pragma once

#include <memory>
#include <string>

#include "autoregressive/model.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel::ar {

/// A generator with all that it needs to be run: the text tokenizer rides inside the file as a U8 tensor, the picture tokenizer is
/// named by the fingerprint of its codebook.
struct Generator {
  Model model;
  std::shared_ptr<const TextTokenizer> text;  // null: a model without text
  std::string codebook_fingerprint;           // SHA-256, hex, of the tokenizer it was trained with
  std::string tokenizer_name;                 // its file's name, for messages
};

/// How matrices and tables of embeddings lie in a file; vectors and positions are float32. int8 matrices are stored as "NAME" (I8) and "NAME.scales" (float32, one a row), rounded as
/// kernels::pack_weights does, so that a program that packs them to int8 gets the same numbers.
enum class Stored { kFloat32, kBFloat16, kInt8 };

/// "fp32", "bf16" or "int8".
/// throws   Error(kUsage) naming what there is
Stored parse_stored(const std::string& name);

/// provenance  JSON object, see model_file.h
/// throws      Error(kUsage) a text tokenizer that is missing, or not the model's, or a fingerprint that is none;
///             Error(kBadData) a tensor that is not finite once stored (named)
ModelFile generator_file(const Generator& generator, Stored stored,
                         const std::string& provenance = "{}", const std::string& license = "");

/// The inverse: float32 on `device`. Nothing is allocated before config and shapes agree.
///
/// name     stands for the file in messages
/// throws   Error(kUnsupported) another kind; Error(kBadData) naming the key
Generator read_generator(const ModelFile& file, const std::string& name, at::Device device);

/// read_model_file and read_generator.
Generator load_generator(const std::string& path, at::Device device);

}  // namespace lexel::ar
