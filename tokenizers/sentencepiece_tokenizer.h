#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "tokenizers/text_tokenizer.h"

namespace lexel {

/// Where a text tokenizer rides inside a model file: this tensor, (bytes) uint8.
inline constexpr const char* kTextTokenizerTensor = "text_tokenizer";

/// A SentencePiece model (unigram or BPE, with byte fallback) behind TextTokenizer.
///
/// The bytes are hostile until checked: message structure, number and lengths of pieces, scores, symbols
/// and the normaliser's table are proven before the library sees them.
///
/// serialized  a SentencePiece model file, at most 16 MiB and 1,000,000 pieces
/// name        what errors call it: a path, "generator.safetensors: text_tokenizer"
/// throws      Error(kBadData) on anything else, or a model without byte fallback, padding, end,
///             beginning and unknown symbol
/// source      Kudo and Richardson 2018, arXiv:1808.06226
std::unique_ptr<TextTokenizer> text_tokenizer_from_bytes(std::string_view serialized,
                                                         const std::string& name);

/// From a file (`lexel train text` writes them). throws  Error(kIo) too
std::unique_ptr<TextTokenizer> load_text_tokenizer(const std::string& path);

/// To the tensor kTextTokenizerTensor of a model file, (bytes) uint8, and out of the file's tensors again.
///
/// tensors     the tokenizer's is taken away from them
/// vocabulary  pieces that the model knows
/// name        of the file, for messages
/// throws      Error(kBadData) missing, as text_tokenizer_from_bytes, or of another number of pieces
at::Tensor text_tokenizer_tensor(const TextTokenizer& tokenizer);
std::unique_ptr<TextTokenizer> take_text_tokenizer(std::map<std::string, at::Tensor>& tensors,
                                                   int64_t vocabulary, const std::string& name);

}  // namespace lexel
