#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/apps/programs_fixture.h"
#include "tests/tokenizers/tiny_captions.h"
#include "tokenizers/io/picture_source.h"
#include "tokenizers/sentencepiece_tokenizer.h"

namespace lexel::tests {
namespace {

using ::testing::HasSubstr;

class TrainText : public ProgramsTest {
 protected:
  /// All English captions, one a line.
  std::string lines() const {
    std::string text;
    for (const std::string& caption : english_captions()) text += caption + "\n";
    write_text(path("captions.txt"), text);
    return path("captions.txt");
  }
};

TEST_F(TrainText, LinesGiveAModelAndItsCoverage) {
  const ProgramResult result = lexel({"train", "text", "--captions", lines(), "--vocabulary", "300",
                                      "--output", path("text.model")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, HasSubstr("captions: 216\n"));
  EXPECT_THAT(result.out, HasSubstr("vocabulary: 300 pieces"));
  EXPECT_THAT(result.out, HasSubstr("byte pieces: 0.00 %"));
  EXPECT_THAT(result.out, HasSubstr("cut at 128 tokens: 0 captions"));
  const auto tokenizer = load_text_tokenizer(path("text.model"));
  EXPECT_THAT(result.out, HasSubstr(tokenizer->fingerprint()));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("Ein Fisch \U0001F420")), "ein fisch \U0001F420");
}

TEST_F(TrainText, SaysThatTheCaptionsDoNotJustifyMore) {
  const ProgramResult result =
      lexel({"train", "text", "--captions", lines(), "--output", path("text.model")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err,
              HasSubstr("pieces in place of 16000: these captions do not justify more"));
}

TEST_F(TrainText, TarsAndJsonLinesGiveTheirCaptions) {
  write_image(path("a.png"), sample_image(8, 8));
  const std::string picture = read_text(path("a.png"));
  TarWriter tar(path("scenes.tar"));
  std::string json_lines;
  for (size_t i = 0; i < english_captions().size(); ++i) {
    const std::string json =
        nlohmann::json{{"caption", english_captions()[i]}, {"things", {1, 2}}}.dump();
    const std::string key = "scene" + std::to_string(1000 + i);
    tar.add(key + ".png", reinterpret_cast<const uint8_t*>(picture.data()), picture.size());
    tar.add(key + ".json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
    json_lines += json + "\n";
  }
  tar.close();
  write_text(path("captions.jsonl"), json_lines + "{\"no caption\": 1}\n");
  lines();
  for (const char* name : {"captions.txt", "scenes.tar", "captions.jsonl"}) {
    const ProgramResult result = lexel({"train", "text", "--captions", path(name), "--vocabulary",
                                        "300", "--output", path(std::string(name) + ".model")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  EXPECT_EQ(read_text(path("scenes.tar.model")), read_text(path("captions.txt.model")));
  EXPECT_EQ(read_text(path("captions.jsonl.model")), read_text(path("captions.txt.model")));
}

TEST_F(TrainText, RefusesWhatIsNoCaption) {
  const auto train = [&](const std::string& name) {
    return lexel({"train", "text", "--captions", path(name), "--output", path("text.model")});
  };
  write_text(path("broken.jsonl"), "{\"caption\": \"a\"}\n{\"caption\"\n");
  expect_failure(train("broken.jsonl"), 3, "broken.jsonl:2: not a JSON object");
  write_text(path("number.jsonl"), "{\"caption\": 3}\n");
  expect_failure(train("number.jsonl"), 3, "\"caption\" is not a text");
  write_text(path("bytes.txt"), "a\n\xFF\xFE\n");
  expect_failure(train("bytes.txt"), 3, "caption 1: text is not UTF-8 at byte 0");
  write_text(path("empty.txt"), "\n\n");
  expect_failure(train("empty.txt"), 2, "there is no caption");
  expect_failure(train("absent.txt"), 4, "absent.txt");
  expect_failure(train("a.png"), 2, "expected captions in a .txt, .jsonl or .tar file");
  EXPECT_FALSE(std::ifstream(path("text.model")).good());
}

TEST_F(TrainText, UsageErrorsComeFirst) {
  expect_failure(lexel({"train", "text", "--output", "x"}), 2, "--captions");
  expect_failure(
      lexel({"train", "text", "--captions", "x.txt", "--output", "x", "--vocabulary", "9"}), 2,
      "--vocabulary");
}

}  // namespace
}  // namespace lexel::tests
