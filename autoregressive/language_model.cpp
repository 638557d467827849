#include "autoregressive/language_model.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/check.h"

namespace lexel::ar {

double TextScore::total() const {
  return std::accumulate(log_probabilities.begin(), log_probabilities.end(), 0.0);
}

double TextScore::mean() const {
  return total() / static_cast<double>(std::max<size_t>(log_probabilities.size(), 1));
}

int64_t greedy_choice(const std::vector<TextScore>& scores) {
  check_arg(!scores.empty(), "greedy_choice", "expected scores, got none");
  std::vector<size_t> in_play(scores.size());
  std::iota(in_play.begin(), in_play.end(), size_t{0});
  for (size_t place = 0;; ++place) {
    std::vector<size_t> longer;
    for (const size_t i : in_play) {
      if (scores[i].log_probabilities.size() > place) longer.push_back(i);
    }
    if (longer.empty()) return static_cast<int64_t>(in_play.front());
    const auto at_place = [&](size_t i) { return scores[i].log_probabilities[place]; };
    double best = at_place(longer.front());
    for (const size_t i : longer) best = std::max(best, at_place(i));
    std::erase_if(longer, [&](size_t i) { return at_place(i) < best; });
    in_play = std::move(longer);
  }
}

int64_t LanguageModel::choose(const std::string& prompt,
                              const std::vector<std::string>& candidates) {
  return greedy_choice(score(prompt, candidates));
}

void check_texts(const char* function, const std::string& prompt,
                 const std::vector<std::string>& texts) {
  check_arg(!prompt.empty(), function, "expected a prompt, got an empty text");
  check_arg(!texts.empty(), function, "expected at least one text after the prompt, got none");
  check_arg(std::ranges::none_of(texts, &std::string::empty), function,
            "expected texts after the prompt, got an empty one");
}

void validate(const CompletionOptions& options) {
  const char* const name = "complete";
  check_arg(options.max_tokens >= 1, name, "expected max_tokens >= 1, got ", options.max_tokens);
  check_arg(std::isfinite(options.temperature) && options.temperature >= 0, name,
            "expected a temperature >= 0, got ", options.temperature);
  check_arg(options.top_k >= 0, name, "expected top_k >= 0, got ", options.top_k);
  check_arg(options.top_p > 0 && options.top_p <= 1, name, "expected top_p in (0, 1], got ",
            options.top_p);
  check_arg(std::ranges::none_of(options.stop, &std::string::empty), name,
            "expected stop texts, got an empty one");
}

std::string cut_at_stop(const std::string& text, const std::vector<std::string>& stops) {
  size_t end = text.size();
  for (const std::string& stop : stops) end = std::min(end, text.find(stop));
  return text.substr(0, end);
}

}  // namespace lexel::ar
