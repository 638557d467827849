#include "apps/eval/fewshot/answers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <algorithm>
#include <sstream>

#include "kernels/check.h"
#include "spae/lexical_codebook.h"
#include "spae/prompts.h"

namespace lexel::cli {
namespace {

// An empty query, for calibration.
const std::vector<std::string> kNothing = {"thing"};

int64_t largest(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace

ModelAnswers ask_model(ar::LanguageModel& model, const spae::Episode& episode,
                       const std::vector<std::vector<std::string>>& words,
                       const std::vector<std::string>& labels, const PromptSetting& setting) {
  spae::ClassificationPrompt prompt{.classes = episode.classes,
                                    .shots = {},
                                    .query = words[static_cast<size_t>(episode.query)],
                                    .induction = setting.induction,
                                    .repeats = setting.repeats};
  for (const int64_t shot : episode.shots) {
    const auto i = static_cast<size_t>(shot);
    prompt.shots.push_back({words[i], labels[i]});
  }
  std::vector<std::string> answers;
  for (const std::string& name : episode.classes) answers.push_back(spae::answer_text(name));

  const std::vector<ar::TextScore> scores =
      model.score(spae::classification_prompt(prompt), answers);
  prompt.query = kNothing;
  const std::vector<ar::TextScore> empty =
      model.score(spae::classification_prompt(prompt), answers);
  std::vector<double> raw, calibrated;
  for (size_t i = 0; i < answers.size(); ++i) {
    raw.push_back(scores[i].mean());
    calibrated.push_back(scores[i].mean() - empty[i].mean());
  }
  return {largest(raw), largest(calibrated), ar::greedy_choice(scores)};
}

WordVectors::WordVectors(const std::vector<std::string>& words, const at::Tensor& vectors) {
  check_arg(vectors.dim() == 2 && vectors.size(0) == static_cast<int64_t>(words.size()),
            "WordVectors", "expected a vector for each of ", words.size(), " words, got ",
            vectors.sizes());
  for (size_t i = 0; i < words.size(); ++i) row_of_[words[i]] = static_cast<int64_t>(i);
  const at::Tensor unit = spae::unit_rows(vectors);
  vectors_ = spae::unit_rows(unit - unit.mean(0, true));
}

at::Tensor WordVectors::mean(const std::vector<std::string>& words) const {
  at::Tensor sum = at::zeros({1, vectors_.size(1)}, vectors_.options());
  for (const std::string& text : words) {
    std::istringstream parts(text);
    for (std::string word; parts >> word;) {
      const auto found = row_of_.find(word);
      if (found != row_of_.end()) sum += vectors_[found->second];
    }
  }
  return spae::unit_rows(sum)[0];
}

int64_t WordVectors::nearest_class_mean(const spae::Episode& episode,
                                        const std::vector<std::vector<std::string>>& words,
                                        const std::vector<std::string>& labels) const {
  const at::Tensor query = mean(words[static_cast<size_t>(episode.query)]);
  std::vector<double> scores;
  for (const std::string& name : episode.classes) {
    at::Tensor sum = at::zeros({1, vectors_.size(1)}, vectors_.options());
    for (const int64_t shot : episode.shots) {
      const auto i = static_cast<size_t>(shot);
      if (labels[i] == name) sum += mean(words[i]);
    }
    scores.push_back(spae::unit_rows(sum)[0].dot(query).item<double>());
  }
  return largest(scores);
}

int64_t WordVectors::nearest_label(const spae::Episode& episode,
                                   const std::vector<std::vector<std::string>>& words) const {
  const at::Tensor query = mean(words[static_cast<size_t>(episode.query)]);
  std::vector<double> scores;
  for (const std::string& name : episode.classes)
    scores.push_back(mean({name}).dot(query).item<double>());
  return largest(scores);
}

}  // namespace lexel::cli
