#include <algorithm>
#include <filesystem>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "apps/eval/detector/detector_file.h"
#include "tests/apps/eval/detector/made_sprites.h"
#include "tests/apps/eval/generator/tiny_generator.h"
#include "tests/apps/programs_fixture.h"

namespace lexel::tests {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

/// The real executable with a random generator, a random detector and made sprites.
class EvalGenerator : public ProgramsTest {
 protected:
  void SetUp() override {
    const vqgan::Model pictures = tiny_picture_model();
    write_model_file(path("pictures"), tiny_picture_file(pictures));
    write_model_file(path("generator"),
                     generator_file(tiny_generator(pictures), ar::Stored::kFloat32));
    made_sprites(path("sprites.tar"));
    write_detector("bar|cross|disc|square");
  }

  void write_detector(const std::string& things) const {
    eval::DetectorConfig config;
    config.fine_width = config.middle_width = config.coarse_width = config.hidden = 4;
    config.middle_blocks = config.coarse_blocks = 1;
    config.threshold = 0.001;
    config.things = things;
    config.colours = "red|blue";
    config.backgrounds = "white|photo";
    write_model_file(path("detector"),
                     detector_file(eval::make_detector(config, 1, at::kCPU), at::kFloat));
  }

  /// With options that `more` does not say otherwise.
  ProgramResult eval(const std::vector<std::string>& more) const {
    const std::vector<std::pair<std::string, std::string>> usual{{"--model", path("generator")},
                                                                 {"--tokenizer", path("pictures")},
                                                                 {"--detector", path("detector")},
                                                                 {"--sprites", path("sprites.tar")},
                                                                 {"--device", "cpu"},
                                                                 {"--scenes", "5"},
                                                                 {"--resamples", "20"}};
    std::vector<std::string> arguments{"eval", "generator"};
    for (const auto& [name, value] : usual) {
      if (std::ranges::count(more, name) == 0) arguments.insert(arguments.end(), {name, value});
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    return lexel(arguments);
  }

  json report(std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--json", path("report.json")});
    const ProgramResult result = eval(more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    table_ = result.out;
    return json::parse(read_text(path("report.json")));
  }

  std::string table_;
};

TEST_F(EvalGenerator, ReportsWhatWasMeasuredAndHow) {
  const json result = report({"--guidance", "1.5", "--top-k", "7"});
  EXPECT_EQ(result["reference set"]["scenes"], 5);
  EXPECT_EQ(result["reference set"]["split"], "held-out");
  EXPECT_EQ(result["reference set"]["SHA-256"].get<std::string>().size(), 64u);
  EXPECT_EQ(result["generator"]["fingerprint"].get<std::string>().size(), 64u);
  EXPECT_EQ(result["sampling"]["guidance"], 1.5);
  EXPECT_EQ(result["sampling"]["top-k"], 7);
  const json& all = result["caption match"]["all of the caption"];
  EXPECT_EQ(all["of"], 5);
  EXPECT_LE(all["low"].get<double>(), all["value"].get<double>());
  for (const char* key : {"ceiling, composed", "ceiling, decoded", "chance"})
    EXPECT_TRUE(all.contains(key)) << key;
  const json& surprise = result["negative log-likelihood"]["held-out pictures"];
  EXPECT_NEAR(surprise["value"].get<double>(), std::log(32.0), 0.5);
  EXPECT_THAT(table_, HasSubstr("generator on 5 held-out scenes"));
  EXPECT_THAT(table_, HasSubstr("all of the caption"));
}

TEST_F(EvalGenerator, TheSameSeedGivesTheSameReport) {
  const json first = report();
  EXPECT_EQ(first, report({"--batch", "2"}));
  const json other = report({"--scene-seed", "9"});
  EXPECT_NE(first["reference set"]["SHA-256"], other["reference set"]["SHA-256"]);
  const json train = report({"--split", "train"});
  EXPECT_EQ(train["reference set"]["split"], "training");
  EXPECT_NE(first["reference set"]["SHA-256"], train["reference set"]["SHA-256"]);
}

TEST_F(EvalGenerator, DrawsASheetAndAGallery) {
  write_text(path("p.tsv"),
             "Prompt\tCategory\tChallenge\tNote\na cat\tAnimals\tBasic\t\nbroken\n"
             "a dog\tAnimals\tBasic\t\na \"sign\"\tArts\tBasic\t\n");
  const ProgramResult result =
      eval({"--scenes", "2", "--sheet", path("sheet.png"), "--sheet-captions", "2", "--prompts",
            path("p.tsv"), "--gallery", path("gallery"), "--per-category", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("p.tsv:3: expected 4 fields"));
  EXPECT_GT(read_image(path("sheet.png")).width(), 5 * 128);
  EXPECT_THAT(read_text(path("gallery/index.html")), HasSubstr("a &quot;sign&quot;"));
  EXPECT_EQ(read_image(path("gallery/pictures/0002.png")).width(), 128);
  EXPECT_FALSE(std::filesystem::exists(path("gallery/pictures/0003.png")));
}

TEST_F(EvalGenerator, SaysWhatCannotBe) {
  expect_failure(eval({"--prompts", path("p.tsv")}), 2, "--gallery");
  expect_failure(eval({"--rerank", "4"}), 2, "scorer");
  expect_failure(eval({"--scenes", "1"}), 2, "--scenes");
  expect_failure(eval({"--guidance", "nan"}), 2, "guidance");
  expect_failure(eval({"--sprites", path("none.tar")}), 4, "none.tar");
  expect_failure(eval({"--detector", path("pictures")}), 5, "scene_detector");
  write_detector("bar|cross|disc");
  expect_failure(eval({}), 2, "does not know \"square\"");
}

}  // namespace
}  // namespace lexel::tests
