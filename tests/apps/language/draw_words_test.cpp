#include "apps/language/draw_words.h"

#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/scripted_language_model.h"

namespace lexel::cli {
namespace {

using spae::DrawingPass;
using spae::WordTask;
using tests::expect_error;
using tests::ScriptedLanguageModel;
using Words = std::vector<std::string>;

const std::vector<int64_t> kSides = {1, 2};
const Words kCodebook = {"sun", "sunset", "sea", "sand", "sky"};

// Knows that the input's words are the answer: reads the last "| words >" of the prompt, and how many are written.
double copies(const std::string& prompt, const std::string& continuation) {
  const size_t bar = prompt.rfind("| ") + 2;
  std::string given = prompt.substr(bar, prompt.find(" >", bar) - bar) + ",";
  const std::string written = prompt.substr(prompt.rfind("Output:") + 7);
  for (const char c : written) {
    if (c == ',') given = given.substr(given.find(',') + 1);
  }
  if (given[0] == ' ') given = given.substr(1);
  return concat(" ", given.substr(0, given.find(',') + 1)) == continuation ? -0.1 : -5.0;
}

WordDrawing drawing(WordTask task) {
  const std::vector<Words> pictures = {{"sun", "sea", "sand", "sky", "sea"},
                                       {"sky", "sun", "sun", "sea", "sand"}};
  WordDrawing d;
  d.examples = spae::task_pairs(task, pictures, kSides, kCodebook, 1);
  d.query = {{"sunset", "sky", "sea", "sand", "sun"}, {}, {}};
  d.plan = spae::progressive_plan(kSides, 2, 1);
  d.codebook = kCodebook;
  return d;
}

TEST(DrawWords, WritesWhatTheModelChoosesPassAfterPass) {
  WordDrawing d = drawing(WordTask::kDeblur);
  ScriptedLanguageModel model(copies);
  EXPECT_EQ(draw_words(model, d), d.query.input);
  ASSERT_EQ(model.prompts.size(), 5);
  // Layer 2 is parallel: each of its words sees layer 1 and none of its neighbours.
  for (size_t i = 1; i < 5; ++i) {
    const std::string wanted = "###\nInput: < sunset | " + d.query.input[i] + " >\nOutput:";
    EXPECT_TRUE(model.prompts[i].ends_with(wanted)) << model.prompts[i];
  }
}

TEST(DrawWords, AnAutoregressivePassSeesItsOwnWords) {
  WordDrawing d = drawing(WordTask::kDeblur);
  d.plan = spae::progressive_plan(kSides, 2, 2);
  ScriptedLanguageModel model(copies);
  EXPECT_EQ(draw_words(model, d), d.query.input);
  ASSERT_EQ(model.prompts.size(), 5);
  EXPECT_TRUE(model.prompts[2].ends_with("Input: < sunset | sky, sea >\nOutput: sky,"));
  EXPECT_TRUE(model.prompts[4].ends_with("Input: < sunset, sky, sea | sand, sun >\nOutput: sand,"));
}

TEST(DrawWords, KeepsWhatIsNotHidden) {
  WordDrawing d = drawing(WordTask::kOutpaint);
  const std::vector<bool> hidden = spae::hidden_places(WordTask::kOutpaint, kSides);
  d.query.input = {"", "sky", "sea", "", ""};
  for (const bool is_hidden : hidden) d.kept.push_back(!is_hidden);
  ScriptedLanguageModel model([](const std::string&, const std::string& continuation) {
    return continuation == " sand," ? -1.0 : -2.0;
  });
  EXPECT_EQ(draw_words(model, d), (Words{"sand", "sky", "sea", "sand", "sand"}));
  EXPECT_EQ(model.prompts.size(), 3);
  EXPECT_TRUE(model.prompts[1].ends_with("Input: < sand | _ >\nOutput:")) << model.prompts[1];
}

TEST(DrawWords, DrawsFromAText) {
  WordDrawing d;
  d.examples = {{{}, "an image of 1", {"sun", "sea", "sea", "sea", "sea"}},
                {{}, "an image of 7", {"sky", "sand", "sand", "sand", "sand"}}};
  d.query = {{}, "an image of 7", {}};
  d.plan = spae::progressive_plan(kSides, 2, 2);
  d.codebook = kCodebook;
  // Knows the examples: answers with the words that followed the same text.
  ScriptedLanguageModel model([](const std::string& prompt, const std::string& continuation) {
    const bool first = prompt.ends_with("< | an image of 7 >\nOutput:");
    return continuation == (first ? " sky," : " sand,") ? -1.0 : -3.0;
  });
  EXPECT_EQ(draw_words(model, d), d.examples[1].output);
}

TEST(DrawWords, RefusesPlansWithHoles) {
  WordDrawing d = drawing(WordTask::kDeblur);
  ScriptedLanguageModel model(copies);
  d.plan.erase(d.plan.begin());
  expect_error(ErrorKind::kUsage, "expected a pass from word 0, got one from 1",
               [&] { draw_words(model, d); });
  d = drawing(WordTask::kDeblur);
  d.kept = {true};
  d.query.input[0].clear();
  expect_error(ErrorKind::kUsage, "a word to keep at place 0", [&] { draw_words(model, d); });
  d.plan.clear();
  expect_error(ErrorKind::kUsage, "0 passes and 5 words", [&] { draw_words(model, d); });
}

}  // namespace
}  // namespace lexel::cli
