#include "apps/eval/fewshot/answers.h"

#include <ATen/ops/eye.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/scripted_language_model.h"

namespace lexel::cli {
namespace {

using tests::ScriptedLanguageModel;

const std::vector<std::string> kLabels = {"cat", "cat", "dog", "dog"};
const std::vector<std::vector<std::string>> kWords = {
    {"whisker"}, {"meow", "whisker"}, {"bark"}, {"bone", "bark"}};

spae::Episode episode() { return {{"cat", "dog"}, {2, 0}, 3, 1}; }

TEST(AskModel, RawCalibratedAndDecodedAnswersDiffer) {
  // The model says "cat" whatever it sees, a little less so for the dog's words.
  ScriptedLanguageModel model([](const std::string& prompt, const std::string& text) {
    const bool is_empty = prompt.find("< thing >") != std::string::npos;
    if (text == " cat\n") return is_empty ? -0.1 : -0.5;
    return -1.0;
  });
  const ModelAnswers answers = ask_model(model, episode(), kWords, kLabels, {true, 1, 2});
  EXPECT_EQ(answers.raw, 0);
  EXPECT_EQ(answers.calibrated, 1);
  EXPECT_EQ(answers.decoded, 0);
  const std::string shots =
      "###\nInput: < bark >\nOutput: dog\n###\nInput: < whisker >\nOutput: cat\n";
  const std::string begin =
      "For each of the following input output pairs, output is one of ['cat' or 'dog']\n" + shots +
      shots;
  ASSERT_EQ(model.prompts.size(), 2);
  EXPECT_EQ(model.prompts[0], begin + "###\nInput: < bone, bark >\nOutput:");
  EXPECT_EQ(model.prompts[1], begin + "###\nInput: < thing >\nOutput:");
}

TEST(AskModel, LeavesOutTheInduction) {
  ScriptedLanguageModel model([](const std::string&, const std::string&) { return -1.0; });
  ask_model(model, episode(), kWords, kLabels, {false, 1, 1});
  EXPECT_TRUE(model.prompts[0].starts_with("###\nInput: < bark >"));
}

TEST(WordVectors, AnswerByNeighboursAndByNames) {
  // Axes: whisker, meow, bark, bone, cat, dog; "dog" is made to lie beside "bark".
  at::Tensor vectors = at::eye(6);
  vectors[5][2].fill_(1.0);
  const WordVectors table({"whisker", "meow", "bark", "bone", "cat", "dog"}, vectors);
  EXPECT_EQ(table.nearest_class_mean(episode(), kWords, kLabels), 1);
  EXPECT_EQ(table.nearest_label(episode(), kWords), 1);
  const spae::Episode cat = {{"dog", "cat"}, {2, 0}, 1, 1};
  EXPECT_EQ(table.nearest_class_mean(cat, kWords, kLabels), 1);
  EXPECT_NEAR(table.mean({"bark"}).norm().item<double>(), 1.0, 1e-6);
  EXPECT_EQ(table.mean({"unknown"}).norm().item<double>(), 0.0);
  EXPECT_EQ(table.mean({"bark bone"}).equal(table.mean({"bark", "bone"})), true);
  tests::expect_error(ErrorKind::kUsage, "a vector for each of 1 words",
                      [&] { WordVectors({"a"}, vectors); });
}

}  // namespace
}  // namespace lexel::cli
