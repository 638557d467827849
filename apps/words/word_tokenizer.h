#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tokenizers/image_tokenizer.h"
#include "tokenizers/io/image.h"

namespace lexel::cli {

/// load_image_tokenizer, of a model whose codes are words in layers.
/// throws   Error(kUsage) another model; what loading throws
std::unique_ptr<ImageTokenizer> load_word_tokenizer(const std::string& model,
                                                    const std::string& device);

/// The one square of a picture that such a model sees.
/// returns  (1, 3, S, S) float32 in [0, 1]
at::Tensor word_square(const ImageTokenizer& tokenizer, const Image& image);

/// The words of a square, layer by layer.
std::vector<std::string> words_of_square(const ImageTokenizer& tokenizer, const at::Tensor& square);

}  // namespace lexel::cli
