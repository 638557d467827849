#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autoregressive/generate.h"
#include "autoregressive/generator_file.h"
#include "tokenizers/image_tokenizer.h"

namespace lexel {

/// Captions to pictures: a generator and the picture tokenizer it was trained with.
class TextToImage {
 public:
  struct Options {
    ar::GenerateOptions sampling;
    int64_t first_picture =
        0;  // number of the first picture: picture n of one call equals picture n of another
    at::Tensor given;  // see ar::generate; (B, N) or undefined
    std::function<bool(int64_t rows, const at::Tensor& tokens)>
        on_row;  // after each row of tokens; false stops
  };
  struct Result {
    at::Tensor images;                  // (B, 3, S, S) float32 in [0, 1], CPU
    at::Tensor tokens;                  // (B, N) int64, CPU
    at::Tensor log_probabilities;       // (B, N) float32, CPU
    std::vector<std::string> warnings;  // a caption that was cut, an empty one
  };

  /// throws   what loading throws; Error(kBadData) naming both files when the generator was trained with another codebook
  TextToImage(const std::string& generator_path, const std::string& tokenizer_path,
              const std::string& device = "auto");

  /// One picture a caption.
  /// throws   Error(kBadData) invalid UTF-8 (the caption is named); what ar::generate throws
  Result draw(const std::vector<std::string>& captions, const Options& options) const;

  const ImageTokenizer& tokenizer() const { return *tokenizer_; }
  const ar::Config& config() const { return model_.model.config; }
  std::string fingerprint()
      const;  // SHA-256 of the generator's weights, hex: what pictures are stamped with

 private:
  ar::PackedModel model_;
  std::shared_ptr<const TextTokenizer> text_;
  std::unique_ptr<ImageTokenizer> tokenizer_;
  std::string fingerprint_;
};

}  // namespace lexel
