#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/eval/fewshot/options.h"
#include "apps/eval/fewshot/worded_pictures.h"
#include "tests/autoregressive/tiny_llama.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_program.h"

namespace lexel::cli {
namespace {

using tests::expect_error;
using tests::write_text;

class EvalFewshotTest : public testing::Test {
 protected:
  EvalFewshotTest() {
    options_.words = (folder_ / "words.jsonl").string();
    options_.language_model.source = (folder_ / "tiny.gguf").string();
    options_.output = (folder_ / "report.json").string();
    options_.ways = {2};
    options_.episodes = 3;
    options_.language_model.precision = "float32";
    options_.quiet = true;
    write_text(options_.language_model.source, tests::tiny_gguf().text_of_file());
  }

  tests::TemporaryFolder folder_;
  EvalFewshotOptions options_;
};

TEST_F(EvalFewshotTest, ReportsEverySettingThatHasPicturesEnough) {
  std::string lines;
  for (const char* label : {"ab", "cd"}) {
    for (const char* word : {"x", "y"}) {
      nlohmann::json line;
      line["picture"] = std::string(label) + word;
      line["concept"] = label;
      line["words"] = nlohmann::json::array({word});
      lines += line.dump() + "\n";
    }
  }
  write_text(options_.words, lines);
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_eval_fewshot(options_), 0);
  const std::string table = testing::internal::GetCapturedStdout();
  EXPECT_NE(table.find("2-way, no induction, 1 shot; chance 0.50"), std::string::npos) << table;
  const auto report = nlohmann::json::parse(tests::read_text(options_.output));
  EXPECT_EQ(report["pictures"], 4);
  ASSERT_EQ(report["settings"].size(), 4);  // of 1 shot
  EXPECT_EQ(report["skipped"].size(), 2);
  EXPECT_NE(table.find("skipped: 2-way, 3 shots: 0 concepts have 4 pictures"), std::string::npos);
  for (const auto& setting : report["settings"]) {
    EXPECT_EQ(setting["accuracy"].size(), 3);  // raw, calibrated, decoded
    for (const auto& accuracy : setting["accuracy"]) {
      EXPECT_GE(accuracy["value"], 0.0);
      EXPECT_LE(accuracy["low"], accuracy["value"]);
    }
  }
}

TEST_F(EvalFewshotTest, NamesTheLineThatIsWrong) {
  const auto refuse = [&](const std::string& message, const std::string& lines) {
    write_text(options_.words, lines);
    expect_error(ErrorKind::kBadData, message, [&] { read_worded_pictures(options_.words, 5); });
  };
  const std::string good = R"({"picture":"a","concept":"cat","words":["b"]})";
  refuse("words.jsonl:2: not a JSON object", good + "\nnonsense\n");
  refuse("words.jsonl:1: not a JSON object", "[]");
  refuse(":1: concept is missing or no text", R"({"picture":"a","words":["b"]})");
  refuse(":1: picture is missing or no text", R"({"picture":7,"concept":"c","words":["b"]})");
  refuse(":3: words is missing or empty",
         "\n\n"
         R"({"picture":"a","concept":"c","words":[]})");
  refuse(":1: words is no list", R"({"picture":"a","concept":"c","words":"b"})");
  refuse(":1: words holds something that is no word",
         R"({"picture":"a","concept":"c","words":["b",""]})");
  refuse(":1: caption_words holds something that is no word",
         R"({"picture":"a","concept":"c","words":["b"],"caption_words":["x\ny"]})");
  write_text(options_.words, R"({"picture":"a","concept":"c","words":["b","d","e"],"more":1})");
  const auto pictures = read_worded_pictures(options_.words, 2);
  ASSERT_EQ(pictures.size(), 1);
  EXPECT_EQ(pictures[0].words, (std::vector<std::string>{"b", "d"}));
  EXPECT_EQ(pictures[0].label, "c");
}

TEST_F(EvalFewshotTest, SaysWhenThereAreTooFewPictures) {
  write_text(options_.words, R"({"picture":"a","concept":"cat","words":["b"]})");
  expect_error(ErrorKind::kUsage, "no setting has pictures enough",
               [&] { run_eval_fewshot(options_); });
}

}  // namespace
}  // namespace lexel::cli
