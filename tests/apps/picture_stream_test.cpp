#include "apps/picture_stream.h"

#include <filesystem>
#include <gtest/gtest.h>

#include "tests/apps/programs_fixture.h"

namespace lexel::cli {
namespace {

class PictureStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    preprocess_.image_size = 16;
    std::filesystem::create_directories(folder_ / "in");
    for (int i = 0; i < 20; ++i) {
      write_image((folder_ / ("in/p" + std::to_string(10 + i) + ".png")).string(),
                  tests::sample_image(16 + i, 16, i));
    }
    std::filesystem::resize_file(folder_ / "in/p15.png", 40);
  }

  std::vector<std::string> names(int64_t threads) {
    PictureStream stream({(folder_ / "in").string()}, preprocess_, threads);
    EXPECT_EQ(stream.size_hint(), 20);
    std::vector<std::string> result;
    StreamedPicture picture;
    while (stream.next(picture)) {
      result.push_back(picture.name);
      EXPECT_EQ(picture.problem.empty(), picture.name != "p15.png") << picture.problem;
      if (picture.problem.empty()) {
        EXPECT_EQ(picture.prepared.tiles.size(0), 1);
      }
    }
    EXPECT_FALSE(stream.next(picture)) << "the end stays the end";
    return result;
  }

  tests::TemporaryFolder folder_;
  Preprocess preprocess_;
};

TEST_F(PictureStreamTest, KeepsTheOrderWithAnyNumberOfThreads) {
  const std::vector<std::string> one = names(1);
  ASSERT_EQ(one.size(), 20u);
  EXPECT_TRUE(std::is_sorted(one.begin(), one.end()));
  EXPECT_EQ(names(7), one);
}

TEST_F(PictureStreamTest, CanBeLeftInTheMiddle) {
  PictureStream stream({(folder_ / "in").string()}, preprocess_, 4);
  StreamedPicture picture;
  EXPECT_TRUE(stream.next(picture));
}

TEST_F(PictureStreamTest, ABadPictureNamesItselfAndTheNextOneComes) {
  PictureStream stream({(folder_ / "in/p15.png").string(), (folder_ / "in/p16.png").string()},
                       preprocess_, 2);
  StreamedPicture picture;
  ASSERT_TRUE(stream.next(picture));
  EXPECT_NE(picture.problem.find("p15.png"), std::string::npos) << picture.problem;
  EXPECT_EQ(picture.problem_kind, ErrorKind::kBadData);
  ASSERT_TRUE(stream.next(picture));
  EXPECT_EQ(picture.problem, "");
}

}  // namespace
}  // namespace lexel::cli
