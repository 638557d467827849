#include "vqgan/patches.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/support/random_tensor.h"

namespace lexel::vqgan {
namespace {

TEST(PatchesTest, OrderIsGridThenChannelRowColumn) {
  const auto images = at::arange(16, at::kFloat).reshape({1, 2, 2, 4});
  const auto patches = to_patches(images, 2);
  EXPECT_TRUE(at::equal(patches, at::tensor({0.F, 1.F, 4.F, 5.F, 8.F, 9.F, 12.F, 13.F,  //
                                             2.F, 3.F, 6.F, 7.F, 10.F, 11.F, 14.F, 15.F})
                                     .reshape({1, 2, 8})));
}

TEST(PatchesTest, FromPatchesInvertsOnAnOblongGrid) {
  const auto images = tests::random_tensor(1, {2, 3, 6, 15});
  EXPECT_TRUE(at::equal(from_patches(to_patches(images, 3), 2, 5, 3), images));
}

}  // namespace
}  // namespace lexel::vqgan
