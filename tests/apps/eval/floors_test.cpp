#include "apps/eval/floors.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "apps/eval/metrics.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temporary_folder.h"
#include "tokenizers/io/safetensors.h"
#include "vqgan/patches.h"

namespace lexel::eval {
namespace {

TEST(Mosaic, IsTheMeanColourOfEachPatch) {
  at::Tensor picture = at::zeros({1, 3, 4, 8}, at::kFloat);
  picture[0][1].slice(1, 0, 4).fill_(0.25);
  picture[0][1][0][0].fill_(0.25 + 1.6);  // 16 pixels a patch: the mean rises by 0.1
  const at::Tensor flat = mosaic(picture, 4);
  EXPECT_TRUE(at::allclose(flat[0][1].slice(1, 0, 4), at::full({4, 4}, 0.35)));
  EXPECT_TRUE(at::allclose(flat[0][1].slice(1, 4, 8), at::zeros({4, 4})));
  EXPECT_TRUE(at::allclose(flat[0][0], at::zeros({4, 8})));
}

TEST(NearestPatches, GivesBackPicturesMadeOfTheCentres) {
  const at::Tensor pictures = tests::random_uniform(1, {2, 3, 16, 16});
  const at::Tensor centres = vqgan::to_patches(pictures, 8).flatten(0, 1).contiguous();
  EXPECT_TRUE(at::equal(nearest_patches(pictures, centres, 8), pictures));
}

TEST(NearestPatches, IsAboveAnyOtherChoiceOfCentres) {
  const at::Tensor pictures = tests::random_uniform(2, {1, 3, 16, 16});
  const at::Tensor centres = tests::random_uniform(3, {5, 192});
  const double best = psnr(nearest_patches(pictures, centres, 8), pictures).item<double>();
  for (int64_t i = 0; i < 5; ++i) {
    const at::Tensor one = nearest_patches(pictures, centres.slice(0, i, i + 1).contiguous(), 8);
    EXPECT_GE(best, psnr(one, pictures).item<double>());
  }
}

TEST(NearestPatches, RejectsAnotherWidth) {
  tests::expect_error(ErrorKind::kUsage, "width 192", [] {
    nearest_patches(at::zeros({1, 3, 8, 8}), at::zeros({4, 48}), 8);
  });
}

TEST(ReadPatchCentres, ReadsWhatTheTrainerWrites) {
  const tests::TemporaryFolder folder;
  const std::string path = (folder / "floor.safetensors").string();
  const at::Tensor centres = tests::random_uniform(4, {7, 12});
  write_safetensors(path, {}, {{"centres", centres}});
  EXPECT_TRUE(at::equal(read_patch_centres(path), centres));
  write_safetensors(path, {}, {{"other", centres}});
  tests::expect_error(ErrorKind::kBadData, "centres", [&] { read_patch_centres(path); });
  tests::expect_error(ErrorKind::kIo, "missing",
                      [&] { read_patch_centres((folder / "missing").string()); });
}

}  // namespace
}  // namespace lexel::eval
