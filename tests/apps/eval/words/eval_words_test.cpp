#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "apps/eval/words/error_chart.h"
#include "apps/eval/words/options.h"
#include "tests/support/expect_error.h"
#include "tests/support/run_program.h"

namespace lexel::cli {
namespace {

using ::testing::HasSubstr;

class EvalWords : public testing::Test {
 protected:
  EvalWords() {
    options_.table = LEXEL_SOURCE_DIR "/assets/words-llama.safetensors";
    options_.output = folder_ / "errors.json";
    options_.vectors = 200;
  }
  std::string run() const {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run_eval_words(options_), 0);
    return testing::internal::GetCapturedStdout();
  }
  tests::TemporaryFolder folder_;
  EvalWordsOptions options_;
};

TEST_F(EvalWords, TheFirstWordIsTheSameAndThenAveragesFallWhereResidualsRise) {
  options_.widths = {32, 128, 4096};
  options_.chart = folder_ / "errors.svg";
  EXPECT_THAT(run(), HasSubstr("     128  residual"));
  const auto widths = nlohmann::json::parse(tests::read_text(options_.output))["widths"];
  ASSERT_EQ(widths.size(), 2);  // the table has no 4096
  for (const auto& one : widths) {
    EXPECT_DOUBLE_EQ(one["average"][0], one["residual"][0]);
    for (size_t n = 1; n < 6; ++n) EXPECT_LT(one["average"][n], one["average"][n - 1]);
  }
  EXPECT_LT(widths[0]["residual"][5], widths[0]["residual"][0]);
  EXPECT_GT(widths[1]["residual"][5], widths[1]["residual"][0]);
  EXPECT_THAT(tests::read_text(options_.chart), HasSubstr("residual, width 128</text>"));
}

TEST_F(EvalWords, OneWordsErrorIsTwoLessTwiceTheBestCosine) {
  options_.widths = {8};
  options_.words = 1;
  run();
  const auto one = nlohmann::json::parse(tests::read_text(options_.output))["widths"][0];
  EXPECT_GT(one["average"][0], 0.0);
  EXPECT_LT(one["average"][0], 1.0);  // 5,452 words in 8 dimensions: a cosine above 0.5 for all
}

TEST_F(EvalWords, SaysWhenNoWidthFits) {
  options_.widths = {5000};
  tests::expect_error(ErrorKind::kUsage, "expected one of at most 384",
                      [&] { run_eval_words(options_); });
}

TEST(ErrorChart, DrawsACurveAnErrorAndKeepsLabelsApart) {
  const std::string svg =
      eval::error_chart({{32, {0.8, 0.4}, {0.8, 0.7}}, {64, {1.1, 0.4}, {1.1, 1.2}}});
  size_t curves = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos;
       at = svg.find("<polyline", at + 1))
    ++curves;
  EXPECT_EQ(curves, 4);
  // Two curves end at 0.4: their labels do not lie on each other.
  const auto y_of = [&](const std::string& label) {
    const size_t at = svg.rfind(" y=\"", svg.find(label));
    return std::stod(svg.substr(at + 4));
  };
  EXPECT_GE(std::abs(y_of("average, width 32<") - y_of("average, width 64<")), 12.0);
}

}  // namespace
}  // namespace lexel::cli
