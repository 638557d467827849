#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autoregressive/generate.h"
#include "autoregressive/generator_file.h"
#include "autoregressive/packed_model.h"
#include "tokenizers/image_tokenizer.h"

namespace lexel {

/// Captions to pictures: a generator and the picture tokenizer it was trained with. A generator of classes (VIM) takes their
/// numbers as captions, "7".
class TextToImage {
 public:
  /// How the generator is laid out for drawing: ar::pack where it is empty, or a rank's share of it.
  using Pack = std::function<ar::PackedModel(ar::Model model, kernels::WeightFormat format)>;

  struct Setup {
    std::string device = "auto";                                   // see kernels/device.h
    kernels::WeightFormat weights = kernels::WeightFormat::kInt8;  // of the decoder's matrices
    Pack pack{};
  };

  struct Options {
    ar::GenerateOptions sampling;
    /// The number of each caption's picture, for its random stream: picture 7 of one call equals picture 7 of another. Empty:
    /// 0, 1, 2, ...
    std::vector<int64_t> pictures;
    at::Tensor given;  // see ar::generate; (B, N) or undefined
    /// After each row of tokens of the pictures that are drawn together: the rows that they have, and all tokens (B, N), -1 where
    /// there is none yet. False stops.
    std::function<bool(int64_t rows, const at::Tensor& tokens)> on_row;
    ar::TokenCallback on_token;  // after each token, for progress: see there
  };

  struct Result {
    at::Tensor images;             // (B, 3, S, S) float32 in [0, 1], CPU
    at::Tensor tokens;             // (B, N) int64, CPU; -1 where a callback stopped before
    at::Tensor log_probabilities;  // (B, N) float32, CPU: see ar::Generated
    std::vector<std::string>
        warnings;  // (B) what to say about a caption: "is empty: ..."; mostly nothing
  };

  /// throws   what loading throws; Error(kBadData) naming both files when the generator was trained with another codebook or grid
  TextToImage(const std::string& generator_path, const std::string& tokenizer_path,
              const Setup& setup);
  TextToImage(const std::string& generator_path, const std::string& tokenizer_path);

  /// One picture a caption. An empty caption is drawn without guidance from any text (and warned about), a long one is cut (and
  /// warned about).
  /// throws   Error(kUsage) no captions, or another number of pictures; what ar::read_prompts and ar::generate throw
  Result draw(const std::vector<std::string>& captions, const Options& options) const;

  /// Tokens as pictures, what is not drawn yet gray: for previews.
  ///
  /// tokens   (B, N) int64 in [-1, K)
  /// returns  (B, 3, S, S) float32 in [0, 1], CPU; row k depends on tokens k alone, bit for bit
  at::Tensor picture_so_far(const at::Tensor& tokens) const;

  const ImageTokenizer& tokenizer() const { return *tokenizer_; }
  const ar::Config& config() const { return model_.model.config; }

  /// What pictures are stamped with: model_fingerprint (tokenizers/io/model_file.h) of both files.
  const std::string& generator_fingerprint() const { return generator_fingerprint_; }
  const std::string& tokenizer_fingerprint() const { return tokenizer_fingerprint_; }

 private:
  ar::PackedModel model_;
  std::shared_ptr<const TextTokenizer> text_;
  std::unique_ptr<ImageTokenizer> tokenizer_;
  std::string generator_fingerprint_, tokenizer_fingerprint_;
  at::Device device_;
};

/// Tokens that the pictures have which are being drawn, from a callback's (B, N): the least number above 0.
int64_t tokens_so_far(const at::Tensor& tokens);

/// Nothing if the tokenizer is the one that the generator was trained with.
///
/// name     of the generator, for the message
/// throws   Error(kBadData) naming both when codebook or grid differ
void check_same_tokenizer(const ar::Generator& generator, const std::string& name,
                          const TokenizerInfo& tokenizer);

}  // namespace lexel
