#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autoregressive/language_model.h"
#include "spae/word_tasks.h"

namespace lexel::cli {

/// A picture that a language model draws as words, after examples.
struct WordDrawing {
  std::vector<spae::DrawingPair> examples;  // complete pyramids, all of one task
  spae::DrawingPair query;                  // its input, or its text; its output is drawn
  std::vector<bool> kept;  // places whose word is the input's and is not asked for; empty: none
  std::vector<spae::DrawingPass> plan;  // spae::progressive_plan
  std::vector<std::string> codebook;    // the words that may be drawn
  int64_t context = 16;                 // words that are drawn already and shown in a prompt
};

/// Progressive in-context decoding: pass after pass, word after word, each the choice of the model among the codebook's words.
/// What spae/ says as text is asked of a model that knows nothing of pictures.
///
/// progress  is called with the number of words that are drawn; may be empty
/// returns  the words of the drawn pyramid, in read-out order
/// throws   Error(kUsage) a plan that leaves out places or a kept place without a word; what drawing_prompt and the model throw
/// source   Yu et al. 2023, arXiv:2306.17842
std::vector<std::string> draw_words(ar::LanguageModel& model, const WordDrawing& drawing,
                                    const std::function<void(int64_t)>& progress = {});

}  // namespace lexel::cli
