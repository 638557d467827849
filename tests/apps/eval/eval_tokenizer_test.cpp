#include <filesystem>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/apps/programs_fixture.h"
#include "tests/support/random_tensor.h"
#include "tokenizers/io/safetensors.h"

namespace lexel::tests {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class EvalTokenizer : public ProgramsTest {
 protected:
  void SetUp() override {
    ProgramsTest::SetUp();
    std::filesystem::create_directories(path("in"));
    for (int i = 0; i < 5; ++i) {
      write_image(path("in/p" + std::to_string(i) + ".png"), sample_image(20 + 7 * i, 30, i));
    }
  }

  json report(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{
        "eval",     "tokenizer", "--model",           model(),       "--device", "cpu",
        path("in"), "--output",  path("report.json"), "--resamples", "50"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult result = lexel(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    table_ = result.out;
    return json::parse(read_text(path("report.json")));
  }

  std::string table_;
};

TEST_F(EvalTokenizer, ReportsEachNumberWithAnIntervalThatHoldsIt) {
  write_safetensors(path("centres"), {}, {{"centres", random_uniform(1, {64, 48})}});
  const json result = report({"--centres", path("centres")});
  EXPECT_EQ(result["pictures"], 5);
  for (const char* name :
       {"PSNR (dB)", "PSNR of the mosaic floor (dB)", "PSNR of the k-means floor (dB)", "SSIM",
        "MSE", "codebook usage", "perplexity", "ids stable under decode, encode"}) {
    ASSERT_TRUE(result["metrics"].contains(name)) << name;
    const json& metric = result["metrics"][name];
    EXPECT_LE(metric["low"].get<double>(), metric["value"].get<double>()) << name;
    EXPECT_GE(metric["high"].get<double>(), metric["value"].get<double>()) << name;
    EXPECT_THAT(table_, HasSubstr(name));
  }
  EXPECT_GT(result["metrics"]["codebook usage"]["value"].get<double>(), 0.0);
}

TEST_F(EvalTokenizer, DoesNotDependOnTheBatch) {
  json one = report({"--batch", "1"});
  json many = report({"--batch", "4"});
  EXPECT_EQ(one, many);
}

TEST_F(EvalTokenizer, TheHashNamesTheReferenceSet) {
  const json all = report();
  const json again = report();
  const json fewer = report({"--limit", "4"});
  EXPECT_EQ(all["reference set SHA-256"], again["reference set SHA-256"]);
  EXPECT_NE(all["reference set SHA-256"], fewer["reference set SHA-256"]);
  EXPECT_EQ(fewer["pictures"], 4);
}

TEST_F(EvalTokenizer, MeasuresTheFrechetDistanceWithTheRealNet) {
  const std::string net = LEXEL_CACHE_DIR "/efficientnet-lite0/efficientnet-lite0-57934424.pth";
  if (!std::filesystem::exists(net)) GTEST_SKIP() << net << " is not there";
  const ProgramResult small =
      lexel({"eval", "tokenizer", "--model", model(), path("in"), "--perceptual", net});
  expect_failure(small, 2, "32");  // 16 pixels are too few for the net
  write_model(model(), 1, 32);
  const json distance =
      report({"--perceptual", net})["metrics"]["Frechet distance (EfficientNet-Lite0)"];
  EXPECT_GT(distance["value"].get<double>(), 0.0);
  EXPECT_LE(distance["low"].get<double>(), distance["high"].get<double>());
}

TEST_F(EvalTokenizer, WantsTwoPictures) {
  expect_failure(lexel({"eval", "tokenizer", "--model", model(), path("in/p0.png")}), 2,
                 "two pictures");
}

TEST_F(EvalTokenizer, NamesABadPicture) {
  write_text(path("in/p2.png"), "not a picture");
  expect_failure(lexel({"eval", "tokenizer", "--model", model(), path("in")}), 3, "p2.png");
  const json result = report({"--skip-bad"});
  EXPECT_EQ(result["pictures"], 4);
  EXPECT_EQ(result["skipped"].size(), 1u);
}

}  // namespace
}  // namespace lexel::tests
