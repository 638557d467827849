#include "spae/prompts.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"

namespace lexel::spae {
namespace {

using tests::expect_error;

ClassificationPrompt cats_and_dogs() {
  return {.classes = {"cat", "dog"},
          .shots = {{{"whisker", "meow"}, "cat"}, {{"bark"}, "dog"}},
          .query = {"bone", "leash"}};
}

TEST(ClassificationPrompt, IsThePapersText) {
  EXPECT_EQ(classification_prompt(cats_and_dogs()),
            "For each of the following input output pairs, output is one of ['cat' or 'dog']\n"
            "###\nInput: < whisker, meow >\nOutput: cat\n"
            "###\nInput: < bark >\nOutput: dog\n"
            "###\nInput: < bone, leash >\nOutput:");
  EXPECT_EQ(answer_text("dog"), " dog\n");
}

TEST(ClassificationPrompt, RepeatsTheListAndLeavesOutTheInduction) {
  ClassificationPrompt prompt = cats_and_dogs();
  prompt.induction = false;
  prompt.repeats = 2;
  const std::string shots =
      "###\nInput: < whisker, meow >\nOutput: cat\n###\nInput: < bark >\nOutput: dog\n";
  EXPECT_EQ(classification_prompt(prompt), shots + shots + "###\nInput: < bone, leash >\nOutput:");
}

TEST(ClassificationPrompt, RefusesWhatWouldBreakTheForm) {
  const auto refuse = [](const std::string& message, const ClassificationPrompt& prompt) {
    expect_error(ErrorKind::kUsage, message, [&] { classification_prompt(prompt); });
  };
  ClassificationPrompt prompt = cats_and_dogs();
  prompt.shots[0].answer = "cow";
  refuse("answers that are classes, got \"cow\"", prompt);
  prompt = cats_and_dogs();
  prompt.query = {};
  refuse("words of every picture, got none", prompt);
  prompt = cats_and_dogs();
  prompt.query = {"a\nOutput: cat"};
  refuse("without line breaks", prompt);
  prompt = cats_and_dogs();
  prompt.repeats = 0;
  refuse("repeats >= 1", prompt);
  prompt = cats_and_dogs();
  prompt.classes.push_back("");
  refuse("an empty one", prompt);
}

TEST(DrawingPrompt, ShowsWhatIsDrawnAndWhatIsGivenAtThesePlaces) {
  const std::vector<DrawingPair> examples = {
      {{"a", "b", "", "d", "e"}, {}, {"A", "B", "C", "D", "E"}}};
  const DrawingPair query = {{"p", "q", "", "s", "t"}, {}, {"P", "Q"}};
  EXPECT_EQ(drawing_prompt(examples, query, {2, 4, 2}, {}, 16),
            "Learning a new language and predict the 2 tokens following the examples.\n"
            "###\nInput: < A, B | _, d >\nOutput: C, D,\n"
            "###\nInput: < P, Q | _, s >\nOutput:");
  // One of two words is there, and the context holds one word.
  EXPECT_EQ(drawing_prompt(examples, query, {2, 4, 2}, {"R"}, 1),
            "Learning a new language and predict the 2 tokens following the examples.\n"
            "###\nInput: < B | _, d >\nOutput: C, D,\n"
            "###\nInput: < Q | _, s >\nOutput: R,");
  EXPECT_EQ(drawn_text("sun"), " sun,");
}

TEST(DrawingPrompt, TakesATextInPlaceOfAPicture) {
  const std::vector<DrawingPair> examples = {{{}, "an image of 1", {"one", "line"}},
                                             {{}, "an image of 7", {"seven", "hook"}}};
  EXPECT_EQ(drawing_prompt(examples, {{}, "an image of 1+7", {}}, {0, 1, 0}, {}, 16),
            "Learning a new language and predict the 1 tokens following the examples.\n"
            "###\nInput: < | an image of 1 >\nOutput: one,\n"
            "###\nInput: < | an image of 7 >\nOutput: seven,\n"
            "###\nInput: < | an image of 1+7 >\nOutput:");
}

TEST(DrawingPrompt, RefusesPlacesThatAreNotThere) {
  const std::vector<DrawingPair> examples = {{{"a", "b"}, {}, {"A", "B"}}};
  const DrawingPair query = {{"p", "q"}, {}, {}};
  const auto refuse = [&](const std::string& message, const DrawingPass& pass,
                          const std::vector<std::string>& written) {
    expect_error(ErrorKind::kUsage, message,
                 [&] { drawing_prompt(examples, query, pass, written, 16); });
  };
  refuse("known <= begin < end, got 2, 1 and 2", {1, 2, 2}, {});
  refuse("pairs that hold words 1 to 3", {1, 3, 0}, {});
  refuse("an output of 0", {1, 2, 1}, {});  // one drawn word is to be shown
  refuse("at most 1 words written, got 2", {0, 1, 0}, {"x", "y"});
}

}  // namespace
}  // namespace lexel::spae
