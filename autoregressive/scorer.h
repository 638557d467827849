#pragma once

#include <ATen/core/Tensor.h>
#include <memory>
#include <string>
#include <vector>

#include "autoregressive/scorer_model.h"
#include "tokenizers/io/model_file.h"
#include "tokenizers/text_tokenizer.h"

namespace lexel {

/// How well pictures match captions: ranks the candidates of one caption (`--rerank`).
/// source   Yu et al. 2022, arXiv:2206.10789, section 2.4 (16 candidates, CoCa's contrastive heads)
class Scorer {
 public:
  /// throws   Error(kUsage) when the tokenizer's vocabulary is not the model's
  Scorer(ar::ScorerModel model, std::shared_ptr<const TextTokenizer> text);

  /// The cosine between picture and caption; thread-safe, no gradients. Row k depends on picture k and caption k
  /// alone, bit for bit on a CPU. A caption that is too long for the model is cut; the empty one says nothing,
  /// and its scores mean nothing.
  ///
  /// images    (B, 3, S, S) float32 in [0, 1], any S >= 1 (resampled to the model's size), any device
  /// captions  B texts
  /// returns   (B) float32 in [-1, 1], CPU; higher is better
  /// throws    Error(kUsage) on another shape, dtype or number of captions; Error(kBadData) invalid UTF-8:
  ///           "caption 3: ..."
  at::Tensor score(const at::Tensor& images, const std::vector<std::string>& captions) const;

  const ar::ScorerConfig& config() const { return model_.config; }
  const TextTokenizer& text() const { return *text_; }

 private:
  ar::ScorerModel model_;
  std::shared_ptr<const TextTokenizer> text_;
};

/// The file of a scorer, kind "scorer", its text tokenizer inside.
///
/// stored   as store_parameters has it, and what it throws
ModelFile scorer_file(const ar::ScorerModel& model, const TextTokenizer& text,
                      const std::string& provenance, const std::string& license,
                      at::ScalarType stored);

/// throws   Error(kIo) no such file; Error(kUnsupported) a file of another kind; Error(kBadData) a broken one,
///          naming the tensor or key
Scorer load_scorer(const std::string& path, at::Device device = at::kCPU);

}  // namespace lexel
