#include "apps/train/tokenizer/loader.h"

#include <gtest/gtest.h>

#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace lexel::train {
namespace {

using tests::expect_error;
using tests::made_tar;
using tests::TemporaryFolder;
using tests::tiny_recipe;

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    read_training_data(
        {.inputs = {made_tar(folder_ / "a.tar", "a", false, 6, 1)}, .model_size = 32}, data_);
    sampler_ = std::make_unique<CropSampler>(data_.pool, tiny_recipe());
  }
  std::vector<at::Tensor> batches(int64_t first, int64_t count, int64_t workers) {
    Loader loader(*sampler_, 4, 32, first, workers, 3);
    std::vector<at::Tensor> result;
    for (int64_t i = 0; i < count; ++i) result.push_back(loader.next());
    return result;
  }
  TemporaryFolder folder_;
  TrainingData data_;
  std::unique_ptr<CropSampler> sampler_;
};

TEST_F(LoaderTest, GivesTheSameBatchesWhateverTheNumberOfWorkers) {
  const auto one = batches(0, 12, 1), three = batches(0, 12, 3), many = batches(0, 12, 9);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(one[i].equal(three[i])) << i;
    EXPECT_TRUE(one[i].equal(many[i])) << i;
  }
  EXPECT_FALSE(one[0].equal(one[1]));
}

TEST_F(LoaderTest, BeginsAtAnyBatch) {
  const auto whole = batches(0, 6, 2), late = batches(4, 2, 2);
  EXPECT_TRUE(whole[4].equal(late[0]));
  EXPECT_TRUE(whole[5].equal(late[1]));
}

TEST_F(LoaderTest, PicturesAreInRange) {
  const at::Tensor batch = batches(0, 1, 1)[0];
  EXPECT_EQ(batch.sizes(), (std::vector<int64_t>{4, 3, 32, 32}));
  EXPECT_GE(batch.min().item<float>(), 0.0f);
  EXPECT_LE(batch.max().item<float>(), 1.0f);
  EXPECT_GT(batch.max().item<float>(), 0.2f);
}

TEST_F(LoaderTest, PassesOnWhatAWorkerMet) {
  for (PooledPicture& picture : data_.pool.pictures) picture.encoded.resize(60);
  Loader loader(*sampler_, 4, 32, 0, 2, 2);
  expect_error(ErrorKind::kBadData, "no picture can be decoded", [&] { loader.next(); });
}

}  // namespace
}  // namespace lexel::train
