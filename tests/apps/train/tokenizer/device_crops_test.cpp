#include "apps/train/tokenizer/device_crops.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "apps/train/tokenizer/loader.h"
#include "tests/support/expect_error.h"
#include "tests/support/gpu.h"
#include "tests/support/random_tensor.h"
#include "tokenizers/io/image.h"

namespace lexel::train {
namespace {

constexpr int64_t kSize = 16;

/// Pictures of noise, the hardest to resize alike: large, small, odd, upright, wide.
void fill(PicturePool& pool) {
  pool.sets.push_back({"noise", 0});
  pool.max_side = 300;
  pool.model_size = kSize;
  const int64_t sizes[][2] = {{131, 300}, {16, 16}, {17, 90}, {64, 20}, {12, 200}};
  for (const auto& [height, width] : sizes) {
    const Image image = to_image(tests::random_uniform(uint64_t(height), {3, height, width}));
    PooledPicture& picture = pool.pictures.emplace_back();
    picture.name = std::to_string(height);
    picture.encoded = encode_image(image, "png");
    ++pool.sets[0].pictures;
  }
}

TrainRecipe recipe() {
  TrainRecipe recipe;
  recipe.model.image_size = kSize;
  recipe.crop_min_side = 9;  // crops that are enlarged, too
  return recipe;
}

void expect_loader_crops(at::Device device) {
  PicturePool pool;
  fill(pool);
  const CropSampler sampler(pool, recipe());
  DeviceCrops on_device(pool, sampler, 24, kSize, 3, 2, device);
  Loader loader(sampler, 24, kSize, 3, 1, 1);
  for (int i = 0; i < 4; ++i) {
    const at::Tensor images = on_device.next();
    ASSERT_EQ(images.device().type(), device.type());
    const at::Tensor wanted = loader.next();
    EXPECT_LE((images.cpu() - wanted).abs().max().item<double>(), 2e-6) << "batch " << i;
    EXPECT_GT(wanted.std().item<double>(), 0.1);
  }
}

TEST(DeviceCrops, AreThoseOfTheLoader) { expect_loader_crops(at::kCPU); }

TEST(DeviceCrops, AreThoseOfTheLoaderOnAGpu) {
  if (!tests::kHasGpu) GTEST_SKIP() << "no GPU";
  expect_loader_crops(at::kCUDA);
}

TEST(DeviceCrops, WholePictureAtItsOwnSizeIsThePicture) {
  PicturePool pool;
  fill(pool);
  const CropSampler sampler(pool, recipe());
  const DeviceCrops crops(pool, sampler, 1, kSize, 0, 1, at::kCPU);
  const at::Tensor plain = crops.cut({Crop{1, 0, Box{0, 0, kSize, kSize}, false}});
  const at::Tensor wanted =
      to_tensor(to_image(tests::random_uniform(16, {3, kSize, kSize}))).unsqueeze(0);
  EXPECT_LE((plain - wanted).abs().max().item<double>(), 1e-6);
  const at::Tensor mirrored = crops.cut({Crop{1, 0, Box{0, 0, kSize, kSize}, true}});
  EXPECT_LE((mirrored.flip({3}) - wanted).abs().max().item<double>(), 1e-6);
}

TEST(DeviceCrops, LeavesOutBrokenPicturesAndRefusesNone) {
  PicturePool pool;
  fill(pool);
  const int64_t bytes =
      DeviceCrops(pool, CropSampler(pool, recipe()), 1, kSize, 0, 1, at::kCPU).bytes();
  PicturePool some;
  fill(some);
  some.pictures.emplace_back().encoded = {1, 2, 3};
  EXPECT_EQ(DeviceCrops(some, CropSampler(some, recipe()), 1, kSize, 0, 2, at::kCPU).bytes(),
            bytes);
  PicturePool none;
  none.sets.push_back({"broken", 1});
  none.pictures.emplace_back().encoded = {1, 2, 3};
  tests::expect_error(ErrorKind::kBadData, "no picture can be decoded", [&] {
    DeviceCrops(none, CropSampler(none, recipe()), 1, kSize, 0, 1, at::kCPU);
  });
}

}  // namespace
}  // namespace lexel::train
