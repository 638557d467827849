#include "apps/data/picture_words.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/expect_error.h"

namespace lexel::data {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// A table of a few words; only words and stand-ins count here.
WordTableFile table() {
  WordTableFile file;
  file.table.words = {"cat", "face", "heart", "blue", "animal", "berry", "glass", "zoo", "horse"};
  file.stand_ins = {{"giraffe", {8, 7, 4}}, {"smiley", {1}}};
  return file;
}

std::string about(const std::string& kind, const std::string& caption,
                  const std::vector<std::string>& keywords = {}, const std::string& source = "") {
  return nlohmann::json{
      {"kind", kind}, {"caption", caption}, {"keywords", keywords}, {"source", source}}
      .dump();
}

class PictureWordsTest : public testing::Test {
 protected:
  std::vector<std::string> spelt(const std::vector<int64_t>& rows) const {
    std::vector<std::string> words;
    for (const int64_t row : rows) words.push_back(finder.words()[static_cast<size_t>(row)]);
    return words;
  }
  const WordFinder finder{table()};
};

TEST_F(PictureWordsTest, NamesOfTheCaptionThenKeywordsEachOnce) {
  const PictureWords words =
      finder.words_of(about("emoji", "cat face", {"Face", "animals", "whiskers", "cat"}));
  EXPECT_THAT(spelt(words.names), ElementsAre("cat", "face"));
  EXPECT_THAT(spelt(words.others), ElementsAre("animal"));
  EXPECT_EQ(words.subject, "cat face");
  EXPECT_EQ(words.weight, 1.0);
}

TEST_F(PictureWordsTest, PluralsAreSingularsAndEmptyWordsAreLeftOut) {
  EXPECT_THAT(spelt(finder.words_of(about("clip art", "The two cats, and BERRIES!")).names),
              ElementsAre("cat", "berry"));
  EXPECT_THAT(spelt(finder.words_of(about("clip art", "A glass.")).names), ElementsAre("glass"));
  EXPECT_THAT(spelt(finder.words_of(about("clip art", "glasses")).names), ElementsAre("glass"));
}

TEST_F(PictureWordsTest, AClipArtsFileNameBeginsWithWhatItShows) {
  const PictureWords words = finder.words_of(about("clip art", "animal", {}, "p/Cat_face_01.png"));
  EXPECT_THAT(spelt(words.names), ElementsAre("animal", "cat"));
  EXPECT_THAT(spelt(finder.words_of(about("emoji", "animal", {}, "p/cat.png")).names),
              ElementsAre("animal"));
}

TEST_F(PictureWordsTest, FoldersOfAShelfAreKeywords) {
  const PictureWords words = finder.words_of(
      about("clip art", "cat", {}, "p/usr/share/openclipart/png/animals/zoo/cat_01.png"));
  EXPECT_THAT(spelt(words.others), ElementsAre("animal", "zoo"));
  EXPECT_THAT(finder.words_of(about("clip art", "cat", {}, "animals/zoo/cat_01.png")).others,
              IsEmpty());
}

TEST_F(PictureWordsTest, WordsNearStandInForWhatTheTableLacks) {
  const PictureWords words = finder.words_of(about("clip art", "A blue giraffe"));
  EXPECT_THAT(spelt(words.names), ElementsAre("blue"));
  EXPECT_THAT(spelt(words.others), ElementsAre("horse", "zoo", "animal"));
  // Alone they are learnt from, the picture need not be lost; nothing is judged by them.
  const PictureWords alone = finder.words_of(about("clip art", "Giraffes"));
  EXPECT_THAT(alone.names, IsEmpty());
  EXPECT_THAT(spelt(alone.others), ElementsAre("horse", "zoo", "animal"));
  EXPECT_FALSE(alone.held_out);
}

TEST_F(PictureWordsTest, PhotosSkinTonesAndForeignCaptionsHaveNone) {
  EXPECT_THAT(finder.words_of(about("photo", "cat")).names, IsEmpty());
  EXPECT_THAT(finder.words_of(about("emoji", "cat: dark skin tone")).names, IsEmpty());
  EXPECT_THAT(finder.words_of(about("clip art", "Ragnetto incazzato")).names, IsEmpty());
  EXPECT_THAT(finder.words_of(about("clip art", "")).names, IsEmpty());
  EXPECT_THAT(finder.words_of("{}").names, IsEmpty());
  EXPECT_THAT(finder.words_of(R"({"kind":"emoji","caption":7,"keywords":"cat"})").names, IsEmpty());
}

TEST_F(PictureWordsTest, ProgramIconsCountLess) {
  const PictureWords words = finder.words_of(
      about("clip art", "cat", {}, "p/usr/share/openclipart/png/computer/icons/cat.png"));
  EXPECT_LT(words.weight, 1.0);
}

TEST_F(PictureWordsTest, RejectsWhatIsNoObject) {
  for (const char* json : {"", "[1]", "{\"kind\":"}) {
    tests::expect_error(ErrorKind::kBadData, "not a JSON object", [&] { finder.words_of(json); });
  }
}

TEST_F(PictureWordsTest, ASubjectLiesOnOneSideWhateverTheOrderOfItsWords) {
  EXPECT_EQ(finder.words_of(about("emoji", "blue heart")).subject,
            finder.words_of(about("clip art", "heart (blue)")).subject);
  int held_out = 0;
  for (int i = 0; i < 2000; ++i) held_out += is_held_out_subject("subject " + std::to_string(i));
  EXPECT_NEAR(held_out, 200, 50);
}

}  // namespace
}  // namespace lexel::data
