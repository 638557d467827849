#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "autoregressive/scorer.h"
#include "autoregressive/text_to_image.h"

namespace lexel::eval {

/// Draws many captions in batches, each picture as if it had been drawn alone.
class Artist {
 public:
  struct Options {
    ar::GenerateOptions sampling;
    int64_t batch = 8;   // pictures drawn together
    int64_t rerank = 1;  // candidates a picture; above 1 with a scorer
  };

  /// scorer   file of the model that ranks candidates; empty where options.rerank is 1
  /// throws   what loading throws; Error(kUsage) candidates without a scorer
  Artist(const std::string& generator, const std::string& tokenizer, const std::string& scorer,
         const std::string& device, const Options& options);

  /// Picture i is number i of a run of txt2img with these captions and this seed (with candidates: its k-th is
  /// number i rerank + k, and the one with the best score is kept).
  ///
  /// drawn    called with the number of pictures drawn so far in this call, candidates included
  /// returns  (N, 3, S, S) float32 in [0, 1], CPU
  at::Tensor draw(const std::vector<std::string>& captions, uint64_t seed,
                  const std::function<void(int64_t)>& drawn);

  const TextToImage& model() const { return model_; }
  const std::set<std::string>& warnings() const { return warnings_; }  // of all calls

 private:
  TextToImage model_;
  std::optional<Scorer> scorer_;
  Options options_;
  std::set<std::string> warnings_;
};

}  // namespace lexel::eval
