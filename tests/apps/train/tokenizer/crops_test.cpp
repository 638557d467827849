#include "apps/train/tokenizer/crops.h"

#include <gtest/gtest.h>
#include <set>

#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::made_picture;
using tests::made_tar;
using tests::TemporaryFolder;
using tests::tiny_recipe;

class Crops : public testing::Test {
 protected:
  Crops() {
    write_image((folder_ / "large.png").string(), made_picture(3, 260, 200));
    read_training_data({.inputs = {made_tar(folder_ / "a.tar", "a", false, 6, 1),
                                   made_tar(folder_ / "b.tar", "b", false, 6, 20),
                                   (folder_ / "large.png").string()},
                        .model_size = 32},
                       data_);
  }
  TemporaryFolder folder_;
  TrainingData data_;
};

TEST_F(Crops, LieInsideTheirLevelAndAreNotShrunkTwofold) {
  const CropSampler sampler(data_.pool, tiny_recipe());
  std::set<int64_t> levels;
  for (int64_t i = 0; i < 500; ++i) {
    const Crop crop = sampler.sample(i);
    const Pixels& pixels = data_.pool.levels(crop.picture)[crop.level];
    EXPECT_GE(crop.box.left, 0.0);
    EXPECT_GE(crop.box.top, 0.0);
    EXPECT_LE(crop.box.left + crop.box.width, double(pixels.width) + 1e-9);
    EXPECT_LE(crop.box.top + crop.box.height, double(pixels.height) + 1e-9);
    EXPECT_GE(crop.box.width, 32.0 - 1e-9);
    EXPECT_LT(crop.box.width, 2.0 * 35);
    levels.insert(crop.level);
  }
  EXPECT_GT(levels.size(), 2u);
}

TEST_F(Crops, DependOnSeedAndNumberAlone) {
  TrainRecipe recipe = tiny_recipe();
  const CropSampler one(data_.pool, recipe), two(data_.pool, recipe);
  recipe.seed = 2;
  const CropSampler other(data_.pool, recipe);
  int64_t differing = 0;
  two.sample(99);
  for (int64_t i = 0; i < 20; ++i) {
    const Crop a = one.sample(i), b = two.sample(i), c = other.sample(i);
    EXPECT_EQ(a.picture, b.picture);
    EXPECT_EQ(a.box.left, b.box.left);
    EXPECT_EQ(a.mirrored, b.mirrored);
    differing += a.box.left != c.box.left;
  }
  EXPECT_GT(differing, 15);
}

TEST_F(Crops, HalfAreMirroredUnlessSwitchedOff) {
  TrainRecipe recipe = tiny_recipe();
  const CropSampler flipping(data_.pool, recipe);
  recipe.flip = false;
  const CropSampler plain(data_.pool, recipe);
  int64_t mirrored = 0;
  for (int64_t i = 0; i < 400; ++i) {
    mirrored += flipping.sample(i).mirrored;
    EXPECT_FALSE(plain.sample(i).mirrored);
  }
  EXPECT_GT(mirrored, 150);
  EXPECT_LT(mirrored, 250);
}

TEST_F(Crops, MixtureWeighsPicturesBySet) {
  TrainRecipe recipe = tiny_recipe();
  recipe.mixture = "a=3 b=1 large=0";
  data_.pool.sets[2].name = "large";
  const CropSampler sampler(data_.pool, recipe);
  std::vector<int64_t> counts(3);
  for (int64_t i = 0; i < 1000; ++i) {
    ++counts[data_.pool.pictures[sampler.sample(i).picture].set];
  }
  EXPECT_NEAR(double(counts[0]), 750.0, 60.0);
  EXPECT_NEAR(double(counts[1]), 250.0, 60.0);
  EXPECT_EQ(counts[2], 0);
}

TEST_F(Crops, MixtureOfAnUnknownSetIsAUsageError) {
  TrainRecipe recipe = tiny_recipe();
  recipe.mixture = "cats=1";
  expect_error(ErrorKind::kUsage, "mixture: no set 'cats' in the data (a, b",
               [&] { CropSampler(data_.pool, recipe); });
}

TEST_F(Crops, ABrokenPictureIsReplaced) {
  TrainRecipe recipe = tiny_recipe();
  const CropSampler sampler(data_.pool, recipe);
  for (size_t i = 1; i < data_.pool.pictures.size(); ++i) {
    data_.pool.pictures[i].encoded.resize(60);  // the header is whole, the rest is missing
  }
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(sampler.sample(i).picture, 0);
  TrainingData empty;
  read_training_data({.inputs = {(folder_ / "a.tar").string()}, .model_size = 32}, empty);
  for (PooledPicture& picture : empty.pool.pictures) picture.encoded.resize(60);
  const CropSampler none(empty.pool, recipe);
  expect_error(ErrorKind::kBadData, "no picture can be decoded", [&] { none.sample(0); });
}

}  // namespace
}  // namespace lexel::train
