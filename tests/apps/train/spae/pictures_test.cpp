#include "apps/train/spae/pictures.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

#include "tests/apps/train/spae/word_tar.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::train {
namespace {

using tests::expect_error;

class Pictures : public testing::Test {
 protected:
  Pictures() { tests::write_word_tar(tar); }
  WordPictures read(std::vector<std::string> inputs) const {
    return WordPictures({.inputs = std::move(inputs), .image_size = 32, .seed = 1, .held_out = 100},
                        data::WordFinder(tests::small_table()));
  }

  tests::TemporaryFolder folder;
  const std::string tar = folder / "words.tar";
};

TEST_F(Pictures, SubjectsLieOnOneSide) {
  const WordPictures pictures = read({tar});
  EXPECT_EQ(pictures.drawings() + pictures.held_out_drawings(), 45);
  EXPECT_GE(pictures.held_out_drawings(), 1);
  EXPECT_EQ(pictures.photos(), 6);
  EXPECT_EQ(pictures.held_out_photos(), 2);
  std::set<std::string> subjects;
  for (int64_t i = 0; i < pictures.drawings(); ++i) subjects.insert(pictures.words_of(i).subject);
  for (int64_t i = 0; i < pictures.held_out_drawings(); ++i)
    EXPECT_EQ(subjects.count(pictures.words_of_held_out(i).subject), 0U);
}

TEST_F(Pictures, AViewIsTheSameTwiceAndInAnotherRun) {
  WordPictures pictures = read({tar}), others = read({tar});
  EXPECT_EQ(pictures.fingerprint(), others.fingerprint());
  const at::Tensor plain = pictures.drawing(3, 0), view = pictures.drawing(3, 2);
  EXPECT_EQ(plain.sizes(), at::IntArrayRef({3, 32, 32}));
  EXPECT_TRUE(at::equal(others.drawing(3, 2), view));
  EXPECT_TRUE(at::equal(pictures.drawing(3, 0), plain));
  EXPECT_FALSE(at::equal(plain, view));
  EXPECT_TRUE(at::equal(others.photo(1, 5), pictures.photo(1, 5)));
  EXPECT_FALSE(at::equal(pictures.photo(1, 5), pictures.photo(1, 6)));
}

TEST_F(Pictures, ThePlainViewStandsOnWhiteAsLargeAsItFits) {
  WordPictures pictures = read({tar});
  const at::Tensor plain = pictures.drawing(0, 0);  // 24 x 20 pixels: bars above and below
  EXPECT_EQ(plain.select(1, 0).min().item<float>(), 1.0F);
  EXPECT_EQ(plain.select(1, 31).min().item<float>(), 1.0F);
  EXPECT_LT(plain.select(2, 0).min().item<float>(), 0.9F);
  EXPECT_LT(plain.select(2, 31).min().item<float>(), 0.9F);
}

TEST_F(Pictures, ABrokenPictureIsWhiteAndHasNoWords) {
  const std::string broken = folder / "broken.tar";
  {
    TarWriter writer(broken);
    const std::string json = R"({"kind":"emoji","caption":"cat and tree"})", bytes = "no picture";
    writer.add("a.png", reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    writer.add("a.json", reinterpret_cast<const uint8_t*>(json.data()), json.size());
    writer.close();
  }
  if (data::is_held_out_subject("cat tree")) GTEST_SKIP() << "the subject is held out";
  WordPictures pictures = read({tar, broken});
  const int64_t last = pictures.drawings() - 1;
  EXPECT_EQ(pictures.words_of(last).names.size(), 2U);
  EXPECT_EQ(pictures.drawing(last, 0).min().item<float>(), 1.0F);
  EXPECT_TRUE(pictures.words_of(last).names.empty());
  EXPECT_EQ(pictures.words_of(last).weight, 0.0);
}

TEST_F(Pictures, RejectsDataWithoutCaptions) {
  const std::string empty = folder / "empty.tar";
  {
    TarWriter writer(empty);
    writer.close();
  }
  expect_error(ErrorKind::kUsage, "expected captioned drawings", [&] { read({empty}); });
}

}  // namespace
}  // namespace lexel::train
