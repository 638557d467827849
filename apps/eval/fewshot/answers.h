#pragma once

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "autoregressive/language_model.h"
#include "spae/episodes.h"

namespace lexel::cli {

/// How an episode is shown.
struct PromptSetting {
  bool induction = true;
  int64_t shots = 1;    // a class
  int64_t repeats = 1;  // of all shots
};

/// What a language model answers: a class each.
struct ModelAnswers {
  int64_t raw = 0;  // the class name of the largest mean ln p of its tokens
  int64_t calibrated =
      0;                // the same after ln p where the query is the one word "thing" is taken off
  int64_t decoded = 0;  // greedy decoding, constrained to the class names
};

/// Asks the model.
///
/// words    of each picture that the episode may name
/// labels   of each picture
/// source   calibration: Zhao et al. 2021, arXiv:2102.09690, with a difference of ln p in place of their affine map
ModelAnswers ask_model(ar::LanguageModel& model, const spae::Episode& episode,
                       const std::vector<std::vector<std::string>>& words,
                       const std::vector<std::string>& labels, const PromptSetting& setting);

/// Words as unit vectors: what classification costs without a language model.
class WordVectors {
 public:
  /// words, vectors (K, S): a table; vectors are made unit, their mean is taken off, and they are made unit again.
  WordVectors(const std::vector<std::string>& words, const at::Tensor& vectors);

  /// The mean vector of the words that the table has, unit; zeros where it has none. A text of several words counts as these.
  at::Tensor mean(const std::vector<std::string>& words) const;  // (S)

  /// The class whose shots' mean is nearest (cosine) to the query's; the first of equals.
  int64_t nearest_class_mean(const spae::Episode& episode,
                             const std::vector<std::vector<std::string>>& words,
                             const std::vector<std::string>& labels) const;

  /// The class whose name is nearest to the query's words: no shots.
  int64_t nearest_label(const spae::Episode& episode,
                        const std::vector<std::vector<std::string>>& words) const;

 private:
  std::map<std::string, int64_t> row_of_;
  at::Tensor vectors_;
};

}  // namespace lexel::cli
