#include "apps/words/word_tokenizer.h"

#include "kernels/check.h"
#include "tokenizers/load.h"

namespace lexel::cli {

std::unique_ptr<ImageTokenizer> load_word_tokenizer(const std::string& model,
                                                    const std::string& device) {
  auto tokenizer = load_image_tokenizer(model, device);
  const TokenizerInfo& info = tokenizer->info();
  check(!info.words.empty() && !info.layer_sides.empty(), ErrorKind::kUsage, model,
        ": expected a model whose codes are words, got kind ", info.kind);
  return tokenizer;
}

at::Tensor word_square(const ImageTokenizer& tokenizer, const Image& image) {
  Preprocess preprocess = tokenizer.info().preprocess;
  if (preprocess.fit == "tiles") preprocess.fit = "crop";  // one tile, one pyramid
  return prepare(image, preprocess).tiles;
}

std::vector<std::string> words_of_square(const ImageTokenizer& tokenizer,
                                         const at::Tensor& square) {
  const at::Tensor ids = tokenizer.encode(square);  // (1, T)
  std::vector<std::string> words;
  const int64_t* const id = ids.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < ids.size(1); ++n)
    words.push_back(tokenizer.info().words[static_cast<size_t>(id[n])]);
  return words;
}

}  // namespace lexel::cli
