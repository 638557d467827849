#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lexel::spae {

// Prompts as pure text: what a frozen language model is given to read pictures as words, and to write them. The forms are
// from memory and from V2L-Tokenizer's code, which copies the paper's; the paper's own text could not be had.

/// A picture's words, and what it is.
struct WordedExample {
  std::vector<std::string> words;
  std::string answer;  // one of the classes
};

struct ClassificationPrompt {
  std::vector<std::string> classes;  // names, for the induction
  std::vector<WordedExample> shots;  // in the order they are shown
  std::vector<std::string> query;    // words of the picture that is asked for
  bool induction = true;             // say first what the answers may be
  int64_t repeats = 1;               // of the whole list of shots
};

/// The prompt, up to the colon that an answer follows (answer_text):
///
///   For each of the following input output pairs, output is one of ['cat' or 'dog']
///   ###
///   Input: < whisker, meow >
///   Output: cat
///   ###
///   Input: < bark, bone >
///   Output:
///
/// throws   Error(kUsage) no class, shot or word, repeats < 1, a shot whose answer is no class, or a word or class that is
///          empty or holds a line break
/// source   Yu et al. 2023, arXiv:2306.17842, few-shot classification
std::string classification_prompt(const ClassificationPrompt& prompt);

/// What follows the prompt where a class is the answer: " cat\n". The line's end makes "fire" and "fire engine" differ.
std::string answer_text(std::string_view answer);

/// Two pyramids of words in read-out order, layer by layer and raster inside a layer; or a text in place of the first.
struct DrawingPair {
  std::vector<std::string> input;   // of the picture that is given; "" at places that are hidden
  std::string input_text;           // used where `input` is empty: "an image of 7"
  std::vector<std::string> output;  // of the picture that is drawn
};

/// Which words are asked for, and after which.
struct DrawingPass {
  int64_t begin = 0, end = 0;  // words of the pyramid
  int64_t known =
      0;  // how many of the drawn picture's words are shown before them, counted from the first
};

/// A prompt that shows pairs at these places and asks for the last one's words there, up to the colon (or the comma of the last
/// word of `written`):
///
///   Learning a new language and predict the 2 tokens following the examples.
///   ###
///   Input: < cat, pet | dog, _ >        (at most `context` words that are drawn already | the input's at these places)
///   Output: dog, bird,
///   ###
///   ...
///
/// examples  complete pyramids
/// query     its output holds at least the first pass.known words
/// written   words of this pass that are there already
/// throws    Error(kUsage) places outside of a pyramid, known > begin, more written than asked for, a word as above
/// source    Yu et al. 2023, arXiv:2306.17842, progressive in-context decoding; the form is V2L-Tokenizer's
std::string drawing_prompt(const std::vector<DrawingPair>& examples, const DrawingPair& query,
                           const DrawingPass& pass, const std::vector<std::string>& written,
                           int64_t context);

/// What follows where a word is drawn: " cat,". The comma makes "sun" and "sunset" differ.
std::string drawn_text(std::string_view word);

}  // namespace lexel::spae
