#include "spae/prompts.h"

#include <algorithm>

#include "kernels/check.h"

namespace lexel::spae {
namespace {

void check_word(const char* function, const std::string& word) {
  check_arg(!word.empty() && word.find_first_of("\n\r") == std::string::npos, function,
            "expected words without line breaks, got ",
            word.empty() ? "an empty one" : "one that has some");
}

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += between;
    text += word;
  }
  return text;
}

using Words = std::vector<std::string>;

Words slice(const Words& words, int64_t begin, int64_t end) {
  return {words.begin() + begin, words.begin() + end};
}

// The input side of one pair.
std::string drawing_input(const DrawingPair& pair, const DrawingPass& pass, int64_t context) {
  const int64_t first = std::max<int64_t>(0, pass.known - context);
  const std::string drawn = joined(slice(pair.output, first, pass.known), ", ");
  std::string given = pair.input_text;
  if (!pair.input.empty()) {
    Words words = slice(pair.input, pass.begin, pass.end);
    std::replace(words.begin(), words.end(), std::string(), std::string("_"));
    given = joined(words, ", ");
  }
  return concat("###\nInput: < ", drawn, drawn.empty() ? "" : " ", "| ", given, " >\nOutput:");
}

}  // namespace

std::string classification_prompt(const ClassificationPrompt& prompt) {
  const char* const name = "spae::classification_prompt";
  check_arg(!prompt.classes.empty() && !prompt.shots.empty() && prompt.repeats >= 1, name,
            "expected classes, shots and repeats >= 1, got ", prompt.classes.size(), ", ",
            prompt.shots.size(), " and ", prompt.repeats);
  for (const std::string& word : prompt.classes) check_word(name, word);
  const auto words_of = [&](const Words& words) {
    check_arg(!words.empty(), name, "expected words of every picture, got none");
    for (const std::string& word : words) check_word(name, word);
    return joined(words, ", ");
  };
  std::string shots;
  for (const WordedExample& shot : prompt.shots) {
    check_arg(std::ranges::find(prompt.classes, shot.answer) != prompt.classes.end(), name,
              "expected answers that are classes, got \"", shot.answer, "\"");
    shots += concat("###\nInput: < ", words_of(shot.words), " >\nOutput: ", shot.answer, "\n");
  }
  std::string text;
  if (prompt.induction) {
    text = concat("For each of the following input output pairs, output is one of ['",
                  joined(prompt.classes, "' or '"), "']\n");
  }
  for (int64_t i = 0; i < prompt.repeats; ++i) text += shots;
  return text + concat("###\nInput: < ", words_of(prompt.query), " >\nOutput:");
}

std::string answer_text(std::string_view answer) { return concat(" ", answer, "\n"); }

std::string drawing_prompt(const std::vector<DrawingPair>& examples, const DrawingPair& query,
                           const DrawingPass& pass, const Words& written, int64_t context) {
  const char* const name = "spae::drawing_prompt";
  const int64_t asked = pass.end - pass.begin;
  check_arg(pass.begin >= 0 && asked >= 1 && pass.known >= 0 && pass.known <= pass.begin, name,
            "expected 0 <= known <= begin < end, got ", pass.known, ", ", pass.begin, " and ",
            pass.end);
  check_arg(static_cast<int64_t>(written.size()) <= asked && context >= 0, name,
            "expected at most ", asked, " words written, got ", written.size());
  const auto check_pair = [&](const DrawingPair& pair, int64_t outputs) {
    const bool fits = static_cast<int64_t>(pair.output.size()) >= outputs &&
                      (pair.input.empty() ? !pair.input_text.empty()
                                          : static_cast<int64_t>(pair.input.size()) >= pass.end);
    check_arg(fits, name, "expected pairs that hold words ", pass.begin, " to ", pass.end,
              ", got an input of ", pair.input.size(), " and an output of ", pair.output.size());
    for (const std::string& word : pair.input) {
      if (!word.empty()) check_word(name, word);
    }
    for (const std::string& word : pair.output) check_word(name, word);
    if (pair.input.empty()) check_word(name, pair.input_text);
  };
  std::string text = concat("Learning a new language and predict the ", asked,
                            " tokens following the examples.\n");
  for (const DrawingPair& pair : examples) {
    check_pair(pair, pass.end);
    text += concat(drawing_input(pair, pass, context), " ",
                   joined(slice(pair.output, pass.begin, pass.end), ", "), ",\n");
  }
  check_pair(query, pass.known);
  text += drawing_input(query, pass, context);
  for (const std::string& word : written) text += drawn_text(word);
  return text;
}

std::string drawn_text(std::string_view word) { return concat(" ", word, ","); }

}  // namespace lexel::spae
