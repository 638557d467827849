#include "apps/train/tokenizer/evaluation.h"

#include <ATen/ops/full.h>
#include <cmath>
#include <gtest/gtest.h>

#include "apps/eval/metrics.h"
#include "tests/apps/train/tokenizer/made_pictures.h"
#include "tests/support/temporary_folder.h"
#include "vqgan/patches.h"

namespace lexel::train {
namespace {

using tests::random_uniform;
using tests::TemporaryFolder;
using tests::tiny_recipe;

at::Tensor to_bytes(const at::Tensor& pictures) { return pictures.mul(255).round().to(at::kByte); }

TEST(Floors, FlatPatchesAreTheirOwnMosaicAndPatchesTheirOwnCentres) {
  const at::Tensor flat =
      random_uniform(1, {2, 3, 4, 4}).repeat_interleave(8, 2).repeat_interleave(8, 3);
  EXPECT_GT(floor_of(to_bytes(flat), {}, 8).mosaic, 99.0);
  EXPECT_TRUE(std::isnan(floor_of(to_bytes(flat), {}, 8).kmeans));

  const at::Tensor noise = to_bytes(random_uniform(2, {2, 3, 32, 32}));
  const at::Tensor centres =
      vqgan::to_patches(noise.to(at::kFloat).div(255), 8).flatten(0, 1).contiguous();
  const Floor floor = floor_of(noise, centres, 8);
  EXPECT_GT(floor.kmeans, 99.0);
  EXPECT_LT(floor.mosaic, 20.0);
}

TEST(Evaluate, ScoresWhatForwardGives) {
  const TrainRecipe recipe = tiny_recipe();
  const vqgan::Model model = vqgan::make_model(recipe.model, 1, at::kCPU);
  const at::Tensor images = to_bytes(random_uniform(3, {30, 3, 32, 32}));
  const std::vector<HeldOutSet> sets = {{"a", 28, images.slice(0, 0, 28)},
                                        {"b", 2, images.slice(0, 28)}};
  const Evaluation result = evaluate(model, sets, at::kFloat, at::kCPU, 6);
  const at::Tensor x = images.to(at::kFloat).div(255);
  const auto pass = vqgan::forward(model, x, at::kFloat);
  const at::Tensor expected = eval::psnr(pass.pictures.clamp(0, 1), x);
  ASSERT_EQ(result.sets.size(), 2u);
  EXPECT_NEAR(result.sets[0].psnr, expected.slice(0, 0, 28).mean().item<double>(), 1e-3);
  EXPECT_NEAR(result.sets[1].psnr, expected.slice(0, 28).mean().item<double>(), 1e-3);
  EXPECT_GT(result.usage, 0.0);
  EXPECT_LE(result.perplexity, 32.0);
  EXPECT_EQ(result.originals.size(0), 5);  // 3 of a, 2 of b
  EXPECT_EQ(result.reconstructions.size(0), 5);
}

TEST(SampleGrid, HasOriginalAndReconstructionSideBySide) {
  const TemporaryFolder folder;
  const std::string path = (folder / "grid.png").string();
  write_sample_grid(path, at::full({3, 3, 8, 8}, 1.0f), at::full({3, 3, 8, 8}, 0.0f), 2);
  const Image grid = read_image(path);
  EXPECT_EQ(grid.height(), 16);
  EXPECT_EQ(grid.width(), 32);
  EXPECT_EQ(grid.pixels[0][0][0].item<int>(), 255);
  EXPECT_EQ(grid.pixels[0][8][0].item<int>(), 0);
}

}  // namespace
}  // namespace lexel::train
