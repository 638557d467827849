#include "apps/train/tokenizer/picture_pool.h"

#include <gtest/gtest.h>

#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/atomic_file.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::made_picture;
using tests::made_tar;
using tests::TemporaryFolder;

TEST(TrainingData, SplitsByTheJsonBesideAPicture) {
  const TemporaryFolder folder;
  TrainingData data;
  read_training_data({.inputs = {made_tar(folder / "a.tar", "a", false, 5, 1),
                                 made_tar(folder / "b.tar", "b", false, 3, 10),
                                 made_tar(folder / "c.tar", "a", true, 4, 20)},
                      .model_size = 32,
                      .held_out_pictures = 3},
                     data);
  EXPECT_EQ(data.pool.pictures.size(), 8u);
  ASSERT_EQ(data.pool.sets.size(), 2u);
  EXPECT_EQ(data.pool.sets[0].name, "a");
  EXPECT_EQ(data.pool.sets[0].pictures, 5);
  ASSERT_EQ(data.held_out.size(), 1u);
  EXPECT_EQ(data.held_out[0].pictures, 4);
  EXPECT_EQ(data.held_out[0].images.sizes(), (std::vector<int64_t>{3, 3, 32, 32}));
}

TEST(TrainingData, PhotosOfSkimageAndOpencvAreOneSet) {
  const TemporaryFolder folder;
  TrainingData data;
  read_training_data({.inputs = {made_tar(folder / "a.tar", "a", false, 2, 1),
                                 made_tar(folder / "s.tar", "skimage", true, 2, 10),
                                 made_tar(folder / "o.tar", "opencv-doc", true, 3, 20)},
                      .model_size = 32},
                     data);
  ASSERT_EQ(data.held_out.size(), 1u);
  EXPECT_EQ(data.held_out[0].name, "sharp photos");
  EXPECT_EQ(data.held_out[0].pictures, 5);
}

TEST(TrainingData, WithoutJsonSomePicturesAreHeldOutByName) {
  const TemporaryFolder folder;
  for (int i = 0; i < 60; ++i) {
    write_image((folder / ("p" + std::to_string(i) + ".png")).string(), made_picture(i, 64, 64));
  }
  TrainingData data;
  read_training_data({.inputs = {folder.path().string()}, .model_size = 32}, data);
  ASSERT_EQ(data.held_out.size(), 1u);
  EXPECT_EQ(data.held_out[0].pictures + int64_t(data.pool.pictures.size()), 60);
  EXPECT_GT(data.held_out[0].pictures, 0);
  EXPECT_LT(data.held_out[0].pictures, 12);
}

TEST(TrainingData, BrokenAndSmallPicturesAreSkippedAndNamed) {
  const TemporaryFolder folder;
  write_image((folder / "good.png").string(), made_picture(1, 64, 64));
  write_image((folder / "small.png").string(), made_picture(2, 20, 64));
  write_file((folder / "broken.png").string(), "no picture");
  TrainingData data;
  read_training_data({.inputs = {folder.path().string()}, .model_size = 32}, data);
  EXPECT_EQ(data.pool.pictures.size(), 1u);
  ASSERT_EQ(data.pool.skipped.size(), 2u);
  EXPECT_NE(data.pool.skipped[0].find("broken.png"), std::string::npos);
  EXPECT_NE(data.pool.skipped[1].find("small.png: 64x20 is too small"), std::string::npos);
}

TEST(TrainingData, NothingToTrainOnIsAUsageError) {
  const TemporaryFolder folder;
  const std::string tar = made_tar(folder / "a.tar", "a", true, 2, 1);
  TrainingData data;
  expect_error(ErrorKind::kUsage, "no picture to train on",
               [&] { read_training_data({.inputs = {tar}, .model_size = 32}, data); });
  TrainingData none;
  expect_error(ErrorKind::kIo, "missing",
               [&] { read_training_data({.inputs = {(folder / "missing").string()}}, none); });
}

TEST(PicturePool, LevelsHalveDownToTheModelsSize) {
  const TemporaryFolder folder;
  write_image((folder / "p.png").string(), made_picture(1, 140, 300));
  TrainingData data;
  read_training_data({.inputs = {(folder / "p.png").string()}, .model_size = 32}, data);
  const auto& levels = data.pool.levels(0);
  ASSERT_EQ(levels.size(), 3u);
  EXPECT_EQ(levels[0].height, 140);
  EXPECT_EQ(levels[2].height, 35);
  EXPECT_EQ(levels[2].width, 75);
  EXPECT_TRUE(data.pool.pictures[0].encoded.empty());
}

TEST(PicturePool, MemoryBoundsTheSizeOfCachedPictures) {
  const TemporaryFolder folder;
  write_image((folder / "p.png").string(), made_picture(1, 1000, 1000));
  TrainingData data;
  read_training_data(
      {.inputs = {(folder / "p.png").string()}, .model_size = 32, .cache_bytes = 1 << 20}, data);
  int64_t bytes = 0;
  for (const Pixels& level : data.pool.levels(0)) bytes += int64_t(level.rgb.size());
  EXPECT_LE(bytes, 1 << 20);
  EXPECT_GT(bytes, 1 << 18);
}

}  // namespace
}  // namespace lexel::train
