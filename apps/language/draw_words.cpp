#include "apps/language/draw_words.h"

#include "kernels/check.h"

namespace lexel::cli {

std::vector<std::string> draw_words(ar::LanguageModel& model, const WordDrawing& drawing,
                                    const std::function<void(int64_t)>& progress) {
  const char* const name = "draw_words";
  check_arg(!drawing.plan.empty() && !drawing.codebook.empty(), name,
            "expected a plan and a codebook, got ", drawing.plan.size(), " passes and ",
            drawing.codebook.size(), " words");
  std::vector<std::string> candidates;
  for (const std::string& word : drawing.codebook) candidates.push_back(spae::drawn_text(word));

  spae::DrawingPair query = drawing.query;
  std::vector<std::string>& drawn = query.output;
  drawn.clear();
  for (const spae::DrawingPass& pass : drawing.plan) {
    check_arg(pass.begin == static_cast<int64_t>(drawn.size()), name, "expected a pass from word ",
              drawn.size(), ", got one from ", pass.begin);
    std::vector<std::string> written;
    for (int64_t place = pass.begin; place < pass.end; ++place) {
      const auto at = static_cast<size_t>(place);
      if (at < drawing.kept.size() && drawing.kept[at]) {
        check_arg(at < query.input.size() && !query.input[at].empty(), name,
                  "expected a word to keep at place ", place, ", got none");
        written.push_back(query.input[at]);
        continue;
      }
      const std::string prompt =
          spae::drawing_prompt(drawing.examples, query, pass, written, drawing.context);
      written.push_back(drawing.codebook[static_cast<size_t>(model.choose(prompt, candidates))]);
      if (progress) progress(place + 1);
    }
    drawn.insert(drawn.end(), written.begin(), written.end());
  }
  return drawn;
}

}  // namespace lexel::cli
